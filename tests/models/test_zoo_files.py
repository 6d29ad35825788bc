"""Downloads of weights: continued, checked, kept with their hash; from a server on this machine."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from fairbench.errors import BadInput
from fairbench.models.zoo_files import WeightsFile, check_hash, models_folders, obtain
from fairbench.provenance import sha256_file


class Server(ThreadingHTTPServer):
    """Serves `content`; the first answer breaks off after `breaks` bytes; `ranges` is what was asked for."""

    content = b""
    breaks: int | None = None
    keeps_ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.keeps_ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks is not None:
            body, self.server.breaks = body[: self.server.breaks], None
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if importlib.util.find_spec("gdown") is None:
        pytest.skip("the extra 'zoo' is not installed")
    torch.save({"weight": torch.arange(400_000.0)}, tmp_path / "source.pt")
    with Server() as server:
        server.content = (tmp_path / "source.pt").read_bytes()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def wanted(server: Server, sha256: str = "") -> WeightsFile:
    return WeightsFile(Path("cifar10", "Linf", "Name.pt"), f"http://127.0.0.1:{server.server_port}/Name.pt", sha256)


def test_a_download_is_whole_and_its_hash_is_noted(server: Server, tmp_path: Path) -> None:
    folder = obtain([wanted(server)], [tmp_path / "a", tmp_path / "b"], "rb:Name")
    path = tmp_path / "a" / "cifar10" / "Linf" / "Name.pt"
    assert folder == tmp_path / "a"
    assert path.read_bytes() == server.content
    assert Path(f"{path}.sha256").read_text() == f"{sha256_file(tmp_path / 'source.pt')}  Name.pt\n"
    path.write_bytes(server.content[:-1] + b"x")
    with pytest.raises(BadInput, match=r"is not the file that Name\.pt\.sha256 names"):
        obtain([wanted(server)], [tmp_path / "a", tmp_path / "b"], "rb:Name")


def test_a_broken_download_is_continued(server: Server, tmp_path: Path) -> None:
    server.breaks = 1_000_000
    with pytest.raises(BadInput, match=r"the download failed .* save it as"):
        obtain([wanted(server)], [tmp_path], "rb:Name")
    place = tmp_path / "cifar10" / "Linf"
    assert not (place / "Name.pt").exists()
    (part,) = place.glob("Name.pt.download*")
    kept = part.stat().st_size
    assert 0 < kept <= 1_000_000
    obtain([wanted(server)], [tmp_path], "rb:Name")
    assert (place / "Name.pt").read_bytes() == server.content
    assert server.ranges[-1] == f"bytes={kept}-"


def test_a_server_without_ranges_gives_no_wrong_file(server: Server, tmp_path: Path) -> None:
    server.breaks, server.keeps_ranges = 1_000_000, False
    with pytest.raises(BadInput):
        obtain([wanted(server)], [tmp_path], "rb:Name")
    with pytest.raises(BadInput, match="is no intact checkpoint and was deleted"):
        obtain([wanted(server)], [tmp_path], "rb:Name")
    obtain([wanted(server)], [tmp_path], "rb:Name")
    assert (tmp_path / "cifar10" / "Linf" / "Name.pt").read_bytes() == server.content


@pytest.mark.parametrize("content", [b"<html>Too many users have viewed this file</html>", b""])
def test_a_page_instead_of_weights_is_not_kept(content: bytes, server: Server, tmp_path: Path) -> None:
    server.content = content
    with pytest.raises(BadInput, match="is no intact checkpoint and was deleted; fetch http://127"):
        obtain([wanted(server)], [tmp_path], "rb:Name")
    assert not any((tmp_path / "cifar10" / "Linf").iterdir())


def test_a_hash_that_the_publisher_names_is_compared(server: Server, tmp_path: Path) -> None:
    digest = sha256_file(tmp_path / "source.pt")
    obtain([wanted(server, digest[:8])], [tmp_path / "a"], "rb:Name")
    with pytest.raises(BadInput, match="was deleted"):
        obtain([wanted(server, "00000000")], [tmp_path / "b"], "rb:Name")


def test_a_local_file_beats_the_download(tmp_path: Path) -> None:
    path = tmp_path / "b" / "Name.pt"
    path.parent.mkdir()
    path.write_bytes(b"anything")
    file = WeightsFile(Path("Name.pt"), "http://127.0.0.1:9/never")
    assert obtain([file], [tmp_path / "a", tmp_path / "b"], "rb:Name") == tmp_path / "b"


def test_a_note_without_a_hash_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"x")
    (tmp_path / "a.pt.sha256").write_text("hello")
    with pytest.raises(BadInput, match="must begin with 64 hexadecimal digits, but begins with 'hello'"):
        check_hash(tmp_path / "a.pt")


def test_weights_are_in_the_data_folder_or_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRBENCH_DATA", "/data")
    assert models_folders(None) == (Path("/data/models"), Path("models"))
    assert models_folders("mine") == (Path("mine/models"), Path("models"))
