"""Made-up pictures of people with annotations."""
