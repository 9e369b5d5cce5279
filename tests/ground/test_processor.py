"""The processor's name, from where the system has it."""

from paretokit import processor


def test_the_name_in_the_systems_list(tmp_path, monkeypatch):
    listed = tmp_path / "cpuinfo"
    listed.write_text("processor\t: 0\nmodel name\t: AMD EPYC: 2\nprocessor\t: 1\nmodel name\t: other\n", encoding="utf-8")
    monkeypatch.setattr(processor, "_LISTED", listed)
    assert processor.processor() == "AMD EPYC: 2"


def test_another_systems_name(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "_LISTED", tmp_path / "missing")
    monkeypatch.setattr(processor.platform, "processor", lambda: "arm")
    assert processor.processor() == "arm"
    monkeypatch.setattr(processor.platform, "processor", lambda: "")
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    assert processor.processor() == "aarch64"
