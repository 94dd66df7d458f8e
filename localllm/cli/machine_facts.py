"""The machine in words: a heading and a text for each thing that is known of it, or why it is not."""

from collections.abc import Iterator

from localllm.devices.machine import CentralProcessor, Machine, Memory
from localllm.devices.sensors.heat import Heat
from localllm.devices.sensors.power import Battery, Power, PowerMode
from localllm.units import size_words

_STATES = {"idle": "not charging", "unknown": ""}


def machine_facts(machine: Machine) -> Iterator[tuple[str, str]]:
    """Headings with their texts."""
    yield "system", f"{machine.system}, {machine.cpu.architecture}"
    yield "processor", machine.cpu.name
    yield "instructions", _instructions(machine.cpu)
    yield "cores", _cores(machine.cpu)
    yield "others", _others(machine.cpu)
    yield "memory", _memory(machine.memory)
    yield "swap", _swap(machine.memory)
    yield "battery", _power(machine.power)
    yield "heat", _heat(machine.heat)
    yield "power mode", _mode(machine.power_mode)


def _unknown(reason: str) -> str:
    return f"not known: {reason}"


def _instructions(cpu: CentralProcessor) -> str:
    there, absent, open_ = (
        ", ".join(name for name, has in cpu.instructions.items() if has is answer) for answer in (True, False, None)
    )
    parts = [there or ("none of those below" if absent else "")]
    parts += [f"without {absent}"] if absent else []
    if open_ or not cpu.instructions:
        parts.append(_unknown(f"{open_} ({cpu.instructions_reason})" if open_ else cpu.instructions_reason))
    return "; ".join(part for part in parts if part)


def _cores(cpu: CentralProcessor) -> str:
    physical = f"of {cpu.physical_cores} " if cpu.physical_cores else ""
    text = f"{cpu.usable_cores} {physical}can be used, {cpu.logical_processors} logical processors"
    return "; ".join((text, *cpu.limits))


def _others(cpu: CentralProcessor) -> str:
    if cpu.others_cores is None:
        return ""
    return f"other programs keep {cpu.others_cores:.1f} cores busy now"


def _memory(memory: Memory) -> str:
    text = f"{size_words(memory.available_bytes)} available of {size_words(memory.total_bytes)}"
    if memory.limit_bytes is None:
        return text
    return f"{text}; the container or service may have {size_words(memory.limit_bytes)}"


def _swap(memory: Memory) -> str:
    if memory.swap_total_bytes is None:
        return _unknown("the system does not tell")
    if not memory.swap_total_bytes:
        return "none"
    return f"{size_words(memory.swap_free_bytes or 0)} free of {size_words(memory.swap_total_bytes)}"


def _power(power: Power) -> str:
    if power.has_battery is None:
        return _unknown(power.reason)
    if not power.has_battery:
        return "none"
    plugged = "whether it is plugged in is not known" if power.is_plugged is None else ""
    plugged = plugged or ("plugged in" if power.is_plugged else "not plugged in")
    level = f"{power.percent} %, " if power.percent is not None else ""
    return f"{level}{plugged} ({', '.join(map(_battery, power.batteries))})"


def _battery(battery: Battery) -> str:
    level = f"{battery.percent} %" if battery.percent is not None else ""
    ups = "UPS" if battery.is_ups else ""
    return " ".join(filter(None, (battery.name, ups, level, _STATES.get(battery.state, battery.state))))


def _heat(heat: Heat) -> str:
    if heat.state is None:
        return _unknown(heat.reason)
    parts: list[str] = [heat.state]
    if heat.warmest is not None:
        sensor = heat.warmest
        limits = (("hot from", sensor.high_celsius), ("critical from", sensor.critical_celsius))
        told = [f"{name} {celsius:.0f} °C" for name, celsius in limits if celsius is not None]
        parts.append(f"{sensor.name} {sensor.celsius:.0f} °C" + (f" ({', '.join(told)})" if told else ""))
    if heat.throttle_events:
        parts.append(f"slowed down {heat.throttle_events} times since the system started")
    if heat.is_throttled:
        parts.append("slowed down now")
    return "; ".join([", ".join(parts), *filter(None, [heat.reason])])


def _mode(mode: PowerMode) -> str:
    parts = [f"profile {mode.profile}" if mode.profile else "", f"governor {mode.governor}" if mode.governor else ""]
    return ", ".join(filter(None, parts)) or _unknown(mode.reason)
