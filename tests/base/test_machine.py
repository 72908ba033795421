"""What engines may use of a processor, against oneDNN's documentation of ONEDNN_MAX_CPU_ISA and real processors."""

import math

import pytest

from ppcls_light.base.machine import (
    available_memory,
    forbidden,
    instruction_set,
    processor_flags,
    processor_name,
    require,
    supports,
    usable_flags,
)
from ppcls_light.errors import DeviceError

# Some flags that Linux shows for them.
NEHALEM = frozenset({"sse4_1", "sse4_2"})
ZEN3 = NEHALEM | {"avx", "avx2", "fma", "f16c"}  # and Haswell
ALDER_LAKE = ZEN3 | {"avx_vnni"}
SKYLAKE_X = ZEN3 | {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
CASCADE_LAKE = SKYLAKE_X | {"avx512_vnni"}
ZEN4 = CASCADE_LAKE | {"avx512_bf16"}
SAPPHIRE_RAPIDS = ZEN4 | {"avx512_fp16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}


@pytest.mark.parametrize(
    ("flags", "name", "int8", "bf16"),
    [
        (frozenset({"sse2"}), "", False, False),
        (NEHALEM, "sse41", False, False),
        (ZEN3, "avx2", False, False),
        (ALDER_LAKE, "avx2_vnni", True, False),
        (SKYLAKE_X, "avx512_core", False, False),
        (CASCADE_LAKE, "avx512_core_vnni", True, False),
        (ZEN4, "avx512_core_bf16", True, True),
        (SAPPHIRE_RAPIDS, "avx512_core_amx", True, True),
        (frozenset(), "", False, False),
    ],
)
def test_processors(flags, name, int8, bf16):
    assert instruction_set(flags) == name
    assert (supports("int8", flags), supports("bf16", flags)) == (int8, bf16)


@pytest.mark.parametrize(
    ("limit", "flags", "int8", "bf16"),
    [
        ("SSE41", SAPPHIRE_RAPIDS, False, False),
        ("AVX", SAPPHIRE_RAPIDS, False, False),
        ("AVX2", SAPPHIRE_RAPIDS, False, False),
        ("avx2", SAPPHIRE_RAPIDS, False, False),
        ("AVX2", ALDER_LAKE, False, False),
        ("AVX2_VNNI", SAPPHIRE_RAPIDS, True, False),
        ("AVX2_VNNI", ALDER_LAKE, True, False),
        ("AVX2_VNNI", CASCADE_LAKE, False, False),
        ("AVX2_VNNI_2", SAPPHIRE_RAPIDS, True, False),
        ("AVX512_CORE", SAPPHIRE_RAPIDS, False, False),
        ("AVX512_CORE_VNNI", SAPPHIRE_RAPIDS, True, False),
        ("AVX512_CORE_VNNI", ALDER_LAKE, False, False),
        ("AVX512_CORE_VNNI", ZEN3, False, False),
        ("AVX512_CORE_BF16", SAPPHIRE_RAPIDS, True, True),
        ("AVX512_CORE_FP16", ALDER_LAKE, True, False),
        ("AVX10_1_512", SAPPHIRE_RAPIDS, True, True),
        ("AVX512_CORE_AMX", SAPPHIRE_RAPIDS, True, True),
        ("AVX10_1_512_AMX", SAPPHIRE_RAPIDS, True, True),
        ("DEFAULT", SAPPHIRE_RAPIDS, True, True),
        ("ALL", SAPPHIRE_RAPIDS, True, True),
        ("no such set", SAPPHIRE_RAPIDS, True, True),
        ("", SAPPHIRE_RAPIDS, True, True),
    ],
)
def test_what_onednn_is_forbidden_is_not_used(limit, flags, int8, bf16):
    for variable in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        usable = usable_flags(flags, {variable: limit})
        assert (supports("int8", usable), supports("bf16", usable)) == (int8, bf16)
        assert usable <= flags


@pytest.mark.parametrize(
    ("limit", "flags", "said"),
    [
        ("AVX2", SAPPHIRE_RAPIDS, "ONEDNN_MAX_CPU_ISA=AVX2"),
        ("AVX2", ALDER_LAKE, "ONEDNN_MAX_CPU_ISA=AVX2"),
        ("AVX2", ZEN3, ""),
        ("AVX512_CORE", ZEN3, ""),
        ("ALL", SAPPHIRE_RAPIDS, ""),
    ],
)
def test_a_limit_counts_where_it_takes_something_away(on_processor, limit, flags, said):
    on_processor(*flags)
    assert forbidden({"ONEDNN_MAX_CPU_ISA": limit}) == said


def test_the_newer_variable_goes_first_unless_it_is_empty():
    both = {"DNNL_MAX_CPU_ISA": "AVX2", "ONEDNN_MAX_CPU_ISA": "ALL"}
    assert usable_flags(ZEN4, both) == ZEN4
    assert not supports("int8", usable_flags(ZEN4, {**both, "ONEDNN_MAX_CPU_ISA": ""}))


@pytest.mark.parametrize(
    ("text", "name", "flags"),
    [
        (
            "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t\t: fpu avx2 fma\n",
            "AMD EPYC 7B13",
            {"fpu", "avx2", "fma"},
        ),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", None, set()),  # ARM
        (None, None, set()),  # not Linux
    ],
)
def test_what_the_system_tells(tmp_path, text, name, flags):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert processor_flags(path) == flags
    assert processor_name(path) == name if name else isinstance(processor_name(path), str)


def test_a_refusal_says_what_is_missing_or_switched_off(on_processor, monkeypatch):
    on_processor(*ZEN3)
    with pytest.raises(
        DeviceError, match=r"^x needs .*AVX512-VNNI, AVX-VNNI or AMX, which this one does not have.*; do y$"
    ):
        require("int8", "x", "do y")
    on_processor(*ZEN4)
    require("int8")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(
        DeviceError, match=r"which ONEDNN_MAX_CPU_ISA=AVX2 switches off .*unset it, or set Global"
    ):
        require("int8")
    on_processor(*ZEN3)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # unsetting it would not help here
    with pytest.raises(DeviceError, match="which this one does not have"):
        require("int8")


def test_an_unknown_processor_is_a_warning_and_never_chosen_for(on_processor, monkeypatch, caplog):
    on_processor()
    require("int8", "this folder", "take fp32")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "this folder needs a processor with AVX512-VNNI" in caplog.text
    assert "is not known here" in caplog.text
    assert not supports("int8")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # that is known
    with pytest.raises(DeviceError, match="switches off"):
        require("int8")


def test_available_memory_is_what_the_machine_or_a_container_leaves(tmp_path):
    meminfo, missing = tmp_path / "meminfo", tmp_path / "none"
    meminfo.write_text("MemTotal:       24683656 kB\nMemAvailable:   8388608 kB\n")
    assert available_memory(meminfo, missing) == 8192
    assert math.isnan(available_memory(missing, missing))

    def container(folder, limit, limit_file, used_file, cache):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / limit_file).write_text(f"{limit}\n")
        (tmp_path / folder / used_file).write_text(f"{3 * 2**30}\n")
        (tmp_path / folder / "memory.stat").write_text(f"anon 17\n{cache} {2**30}\n")

    container("v2", 4 * 2**30, "memory.max", "memory.current", "inactive_file")
    assert available_memory(meminfo, tmp_path / "v2") == 2048  # the cache would make room
    container("v2", "max", "memory.max", "memory.current", "inactive_file")
    assert available_memory(meminfo, tmp_path / "v2") == 8192
    container("memory", 6 * 2**30, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    assert available_memory(meminfo, tmp_path) == 4096  # version 1
    assert available_memory() > 0 or math.isnan(available_memory())
