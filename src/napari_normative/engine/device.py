"""Which device computes, and why."""

from __future__ import annotations

from dataclasses import dataclass

from napari_normative.errors import DeviceError


@dataclass(frozen=True)
class DeviceChoice:
    """A device and the reason for it.

    Attributes
    ----------
    device : str
        As torch names it: ``cpu``, ``cuda:0``, ``mps``.
    reason : str
        One clause for people.
    """

    device: str
    reason: str


def list_devices() -> list[str]:
    """Return what can be asked for on this machine, ``auto`` first."""
    import torch

    devices = ["auto", "cpu"]
    devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def choose_device(request: str = "auto") -> DeviceChoice:
    """Return the device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    DeviceError
        ``DEV-001`` unknown name, ``DEV-002`` not on this machine.
    """
    import torch

    name = request.strip().lower()
    if name == "auto":
        if torch.cuda.is_available():
            free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]
            best = max(range(len(free)), key=free.__getitem__)
            return DeviceChoice(
                f"cuda:{best}",
                f"{torch.cuda.get_device_name(best)}, {free[best] / 2**30:.1f} GiB free",
            )
        if torch.backends.mps.is_available():
            return DeviceChoice("mps", "Apple GPU")
        return DeviceChoice("cpu", f"no GPU was found; {_threads()}")
    if name == "cpu":
        return DeviceChoice("cpu", f"as asked; {_threads()}")
    if name == "mps":
        if torch.backends.mps.is_available():
            return DeviceChoice("mps", "as asked")
        raise _absent(request)
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number or "0").isdigit():
        raise DeviceError(
            "DEV-001",
            f"{request!r} is no device",
            "Use auto, cpu, cuda:0 (or another number), mps.",
        )
    index = int(number or 0)
    if index >= torch.cuda.device_count():
        raise _absent(request)
    return DeviceChoice(f"cuda:{index}", f"as asked; {torch.cuda.get_device_name(index)}")


def bf16_is_fast(device: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False


def _absent(request: str) -> DeviceError:
    return DeviceError(
        "DEV-002",
        f"{request} is not available on this machine",
        "Use --device auto or cpu; for a GPU install its driver and a torch build for it.",
    )


def _threads() -> str:
    import torch

    count = torch.get_num_threads()
    return f"{count} thread{'' if count == 1 else 's'}"
