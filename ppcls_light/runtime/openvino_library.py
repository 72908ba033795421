"""OpenVINO and its quantizer without their telemetry, which asks for an analytics host at every import."""

import sys


def without_telemetry():
    """Have imports of OpenVINO and NNCF take the stubs that they keep for when their telemetry is not installed.

    Without effect where a caller has imported them before.
    """
    sys.modules.setdefault("openvino_telemetry", None)
