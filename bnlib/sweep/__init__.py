"""Many runs: the experiments as data, the engine that runs them, and the records that they leave.

``python -m bnlib.sweep NAME`` runs one on this machine. Its groups of runs are independent jobs that go
through joblib, so a cluster is one more line::

    import joblib
    from dask.distributed import Client

    from bnlib.lab import load_mnist
    from bnlib.sweep import EXPERIMENTS, run_experiment, write_record

    client = Client("scheduler:8786")
    with joblib.parallel_config(backend="dask"):
        record = run_experiment(EXPERIMENTS["figure1"], load_mnist(), unfinished="figure1.unfinished")
    write_record("book/results/figure1.json", record)

Dask is to be installed beside this package. A worker that is lost costs the groups that it had in hand,
which another runs again: tried with two local workers, one of them killed in mid-run, and no number
differed from a run without a cluster. Ray has such a backend too, which was not tried. `unfinished` is a
folder that all machines of the cluster share; remove it when the record is written.
"""

from .catalogue import *
from .engine import *
from .experiment import *
from .paper import *
from .probes import *
from .records import *
from .settings import *
from .stacked import *
