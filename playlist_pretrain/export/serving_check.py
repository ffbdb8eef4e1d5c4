"""A model answers logged requests as TensorFlow Serving does, in a process without this package.

``python -P serving_check.py MODEL REQUESTS RESPONSES`` loads the SavedModel as a model server does,
feeds the tensors that its signatures name, and writes the answers. Both files hold
``PredictionLog`` messages, the former's with requests, the latter's with responses. What TensorFlow
says when it cannot is on the last line of standard error, and the exit code is 1.
"""

import os
import sys


def answer(model, requests, responses):
    """Answer every request of a file."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    with (
        tf.compat.v1.Session(graph=tf.Graph()) as session,
        tf.io.TFRecordWriter(responses) as writer,
    ):
        graph = tf.compat.v1.saved_model.load(session, ["serve"], model)
        for raw in tf.compat.v1.io.tf_record_iterator(requests):
            request = prediction_log_pb2.PredictionLog.FromString(raw).predict_log.request
            signature = graph.signature_def[request.model_spec.signature_name]
            feed = {
                signature.inputs[name].name: tf.make_ndarray(tensor)
                for name, tensor in request.inputs.items()
            }
            fetch = {name: tensor.name for name, tensor in signature.outputs.items()}
            response = predict_pb2.PredictResponse(model_spec=request.model_spec)
            for name, value in session.run(fetch, feed).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.response.CopyFrom(response)
            writer.write(log.SerializeToString())


def main():
    """Answer the requests of the command line; the exit code."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.modules["playlist_pretrain"] = None  # a server has none: whatever asks for it fails
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    try:
        answer(*sys.argv[1:])
    except Exception as error:  # whatever TensorFlow has for a model that it cannot load or run
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
