"""Faults in published weights by name, and in their downloads."""
from mutations.mutation import Mutation

DOWNLOADS = 'tests/system/test_downloads.py'
ZOO = 'tests/checkpoints/test_zoo.py'

WEIGHTS = (
    Mutation('hash_unchecked', 'src/system/downloads.py',
             'if not found.startswith(sha256.lower()):', 'if False:',
             f'{DOWNLOADS}::test_wrong_content_never_gets_the_name', 'a download is what its name says'),
    Mutation('short_transfer_is_whole', 'src/system/downloads.py',
             'if expected is not None and received < expected:', 'if False:',
             f'{DOWNLOADS}::test_a_broken_transfer_is_continued', 'a transfer that broke off is not the file'),
    Mutation('pieces_of_two_versions', 'src/system/downloads.py',
             "request.add_header('If-Range', note['validator'])", 'pass',
             f'{DOWNLOADS}::test_a_file_that_cannot_be_continued_begins_anew',
             'only the version that was begun is continued'),
    Mutation('redirects_to_http', 'src/system/downloads.py',
             '        check_address(newurl)\n', '',
             f'{DOWNLOADS}::test_a_redirect_to_a_place_that_is_not_safe_is_refused', 'only https is followed'),
    Mutation('full_disk_while_downloading', 'src/system/downloads.py',
             'if free < needed:', 'if False:', f'{DOWNLOADS}::test_without_room_nothing_is_written',
             'a download that has no room does not begin'),
    Mutation('first_hash_forgotten', 'src/checkpoints/zoo.py',
             'expected = _remembered_hash(path) or weights.sha256', 'expected = weights.sha256',
             f'{ZOO}::test_a_file_without_a_hash_stays_what_it_was_at_first',
             'a file that nobody vouches for stays what it was'),
    Mutation('all_keypoints_of_a_joint_head', 'src/checkpoints/zoo.py',
             'value[:weights.head_keypoints] if', 'value[-weights.head_keypoints:] if',
             f'{ZOO}::test_a_file_of_every_project_becomes_a_checkpoint_with_its_recipe',
             'the first keypoints of the head are those of COCO'),
    Mutation('settings_of_the_table_lost', 'src/checkpoints/zoo.py',
             'resolve(load_recipe(weights.recipe), weights.settings)', 'load_recipe(weights.recipe)',
             f'{ZOO}::test_a_file_of_every_project_becomes_a_checkpoint_with_its_recipe',
             'the settings of a row are part of its recipe'),
)
