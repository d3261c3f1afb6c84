"""All faults that the tests have to notice."""
from mutations.decoding import DECODING
from mutations.inference import INFERENCE
from mutations.networks import NETWORKS
from mutations.protocols import PROTOCOLS
from mutations.reports import REPORTS
from mutations.runs import RUNS
from mutations.samples import SAMPLES
from mutations.training import TRAINING
from mutations.weights import WEIGHTS

MUTATIONS = (*NETWORKS, *TRAINING, *SAMPLES, *PROTOCOLS, *RUNS, *INFERENCE, *DECODING, *WEIGHTS, *REPORTS)
