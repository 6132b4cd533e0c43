"""What the SDKs offer: every public method of their classes, found by looking, so that a method that a new version
brings is missed by nobody. `suite.py` writes it beside the results; `cargo xtask surface` compares."""

from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient
from azure.iot.hub import (
    DigitalTwinClient,
    IoTHubConfigurationManager,
    IoTHubHttpRuntimeManager,
    IoTHubJobManager,
    IoTHubRegistryManager,
)

SERVICE = (
    IoTHubJobManager,
    IoTHubRegistryManager,
    IoTHubConfigurationManager,
    IoTHubHttpRuntimeManager,
    DigitalTwinClient,
)
DEVICE = (IoTHubDeviceClient, IoTHubModuleClient)


def methods_of(kind):
    return [name for name in dir(kind) if not name.startswith("_")]


def surface():
    """`{package: {class: [method, ...]}}`."""
    return {
        "azure-iot-hub": {kind.__name__: methods_of(kind) for kind in SERVICE},
        "azure-iot-device (Python)": {kind.__name__: methods_of(kind) for kind in DEVICE},
    }
