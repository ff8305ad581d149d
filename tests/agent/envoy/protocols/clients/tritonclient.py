"""The `tritonclient` clients, HTTP and gRPC."""

import sys

sys.path.pop(0)  # this folder holds a file of the same name

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

print("ready", flush=True)
url, target, authority = sys.stdin.readline().split()
tensor = np.ones((1, 2), dtype=np.float32)
web = tritonclient.http.InferenceServerClient(url.removeprefix("http://"))
given = tritonclient.http.InferInput("in", [1, 2], "FP32")
given.set_data_from_numpy(tensor)
web.is_server_live()
web.is_server_ready()
web.is_model_ready("ngram")
web.get_server_metadata()
web.get_model_metadata("ngram", "1")
web.infer("ngram", [given])
web.infer("ngram", [given], model_version="1")
web.load_model("ngram")
try:
    web.infer("other", [given])
    raise SystemExit("another model was permitted")
except InferenceServerException as exc:
    print(exc.message(), flush=True)

rpc = tritonclient.grpc.InferenceServerClient(target, channel_args=[("grpc.default_authority", authority)])
asked = tritonclient.grpc.InferInput("in", [1, 2], "FP32")
asked.set_data_from_numpy(tensor)
rpc.is_server_live()
rpc.is_model_ready("ngram")
rpc.get_model_metadata("ngram")
rpc.infer("ngram", [asked])
rpc.load_model("ngram")
rpc.start_stream(lambda result, error: print("stream", error, flush=True))
rpc.async_stream_infer("ngram", [asked])
rpc.async_stream_infer("ngram", [asked])
rpc.stop_stream()
try:
    rpc.infer("other", [asked])
    raise SystemExit("another model was permitted")
except InferenceServerException as exc:
    print(exc.status(), exc.message(), flush=True)
