from fedtl.api import compare as compare
from fedtl.api import predict as predict
from fedtl.api import simulate as simulate
from fedtl.comparison.comparison_result import ComparisonResult as ComparisonResult
from fedtl.config import RunConfig as RunConfig
from fedtl.errors import FedtlError as FedtlError
from fedtl.observers.observer import Observer as Observer
from fedtl.results.result import RunResult as RunResult

__version__: str
launch_folder: str
