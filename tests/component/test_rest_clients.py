"""The REST daemon against clients that are odd, slow, many or not allowed: one of each; many at once
are tests/hostile/test_clients.py. Needs root and /dev/kvm."""

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import re
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "mgmt"))
from daemon import Answer, DEADLINE, Daemon, wait_until  # noqa: E402

HOST = b"Host: localhost\r\n"
GET = b"GET /v1/vms/plain HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/vms HTTP/1.1\r\n" + HOST


@pytest.fixture(scope="module")
def host():
    daemon = Daemon()
    daemon.wait_switch()
    daemon.ok("POST", "/v1/vms", daemon.spec("plain"))
    yield daemon
    daemon.destroy()


@contextlib.contextmanager
def client(host, data=b""):
    """A connection that has sent something."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(str(host.run / "api.sock"))
        sock.sendall(data)
        yield sock


def answer_of(sock):
    """One answer."""
    response = http.client.HTTPResponse(sock, method="GET")
    response.begin()
    return Answer(response)


def read_all(sock):
    """What comes until the daemon closes."""
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return data
        data += piece


def problem(answer, status):
    """It is one, of this status; its words."""
    assert (answer.status, answer.type) == (status, "application/problem+json"), answer.text
    assert answer.json["status"] == status
    return answer.json["detail"]


def metric(host, name):
    """One number of /v1/metrics."""
    text = host.call("GET", "/v1/metrics").text
    return int(re.search(rf"^{re.escape(name)} (\d+)$", text, re.MULTILINE)[1])


@pytest.mark.parametrize("head", [
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 2\r\nContent-Length: 3\r\n",
    b"Content-Length: 2\r\nContent-Length: 2\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n", b"Content-Length : 2\r\n"])
def test_body_whose_end_is_in_doubt(host, head):
    """Refused, and nothing behind it is taken for a request."""
    smuggled = b"2\r\n{}\r\n0\r\n\r\n" + b"DELETE /v1/vms/plain HTTP/1.1\r\n" + HOST + b"\r\n"
    with client(host, POST + head + b"\r\n" + smuggled) as sock:
        assert "leave open" in problem(answer_of(sock), 400)
        assert read_all(sock) == b""
    assert host.vm("plain")


@pytest.mark.parametrize("head,body", [
    (b"Content-Length: -2\r\n", b"{}"), (b"Content-Length: +2\r\n", b"{}"),
    (b"Content-Length: 0x2\r\n", b"{}"), (b"Content-Length: 2, 2\r\n", b"{}"),
    (b"Content-Length: 99999999999999999999\r\n", b"{}"),
    (b"Transfer-Encoding: chunked\r\n", b"zz\r\n{}\r\n"), (b"Transfer-Encoding: chunked\r\n", b"-2\r\n"),
    (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n"), (b"no colon\r\n", b""),
    (b"X: " + b"x" * 40000 + b"\r\n", b""), (b"X: y\r\n" * 5000, b"")])
def test_what_is_no_http(host, head, body):
    """libmicrohttpd itself refuses it, in its own words (for some, with its head sent twice)."""
    with client(host) as sock:
        with contextlib.suppress(BrokenPipeError):
            sock.sendall(POST + head + b"\r\n" + body)
        said = read_all(sock)
    assert re.match(rb"HTTP/1.1 4\d\d ", said) and b"Connection: close" in said, said


@pytest.mark.parametrize("path", [
    "/v1/vms/plain%00", "/v1/vms/plain%00/../x", "/v1/vms/plain%2f..", "/v1/vms/plain%2Fnics",
    "/v1/vms/plain/", "/v1/vms//plain", "//v1/vms/plain", "/v1/../v1/vms/plain", "/v1/vms/./plain",
    "/v1/vms/%2e%2e/plain", "/v1/vms/..%5cplain", "/v1/vms/plain%20", "/v1/vms/plain%", "/v1/vms/%",
    "/v1/vms/plain%0d%0a", "/v1/vms/PLAIN", "/v1/vms/plain;x", "/v1/vms/%70lain%c0%af",
    "/v1/vms/plain'--", "/v1/vms/'%20OR%20'1'='1", "/v1/vms/plain%27%3B%20DROP%20TABLE%20vms",
    "/v1/vms/" + "x" * 20000, "/v1/vms/plain" + "/.." * 5000, "http://localhost/v1/vms/plain"])
def test_path_tricks(host, path):
    problem(host.call("GET", path), 404)
    problem(host.call("DELETE", path), 404)


def test_path_that_is_only_written_otherwise(host):
    """RFC 3986 6.2.2.2."""
    assert host.ok("GET", "/v1/vms/%70l%61in?what=ever")["id"] == "plain"


@pytest.mark.parametrize("vm", [
    "plain'", "'; DROP TABLE vms; --", "../plain", "a/b", "a\\b", "a b", "a\tb", "\u202egnp", "a" * 33,
    "a" * 100000, "%00", "-a", "a-", ".", ".."])
def test_id_that_is_none(host, vm):
    assert "id: found" in problem(host.call("POST", "/v1/vms", {**host.spec("x"), "id": vm}), 422)


@pytest.mark.parametrize("body", [
    '{"id": "x", "vcpus": 1e999}', '{"id": "x", "vcpus": 99999999999999999999999}',
    '{"vcpus": ' + "9" * 100000 + "}", '{"vcpus": -' + "0" * 100000 + "}",
    '{"id": "x", "id": "y"}', '{"id": "x", "\\u0069d": "y"}', '{"i\\u0000d": 1}', '{"a": "\\ud800"}',
    b'{"id": "\xc0\x80"}', b'{"id": "\xed\xa0\x80"}', b"\xef\xbb\xbf{}", b"\x00{}", b"{}\x00",
    "[" * 100000, "[" * 100000 + "]" * 100000, '{"a":' * 100000 + "1" + "}" * 100000, "\xa0{}"])
def test_json_tricks(host, body):
    problem(host.call("POST", "/v1/vms", body), 400)


@pytest.mark.parametrize("body", ["[" + "[]," * 300000 + "[]]", "[" + '"",' * 300000 + '""]',
                                  "{" + ",".join(f'"{n}":1' for n in range(80000)) + "}",
                                  '{"vcpus": 0.' + "1" * 900000 + "}",
                                  '{"id": "' + "\\u0001" * 170000 + '"}'])
def test_json_that_is_much(host, body):
    problem(host.call("POST", "/v1/vms", body), 422)


def test_pipelining(host):
    """Answered in order, each once, also when they come in pieces."""
    wanted = [b"/v1/vms/plain", b"/v1/vms/nobody", b"/v1/switch"] * 100
    data = b"".join(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in wanted)
    with client(host) as sock, concurrent.futures.ThreadPoolExecutor() as pool:
        sending = pool.submit(lambda: [sock.sendall(data[at:at + 999]) for at in range(0, len(data), 999)])
        stream = sock.makefile("rb")
        for path in wanted:
            assert stream.readline().split()[1] == (b"404" if b"nobody" in path else b"200")
            size = int(http.client.parse_headers(stream)["Content-Length"])
            assert len(stream.read(size)) == size
        sending.result()


def test_half_closed(host):
    """Who has said all may stop sending and still hears the answer."""
    with client(host, GET) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert answer_of(sock).json["id"] == "plain"


def test_time_runs_out():
    """For who does not end his request, does not begin one, or does not read his answer."""
    daemon = Daemon(options=["--client-seconds", "1"])
    unfinished = (b"GET /v1/vms HTTP/1.1\r\nX: ", POST + b"Content-Length: 9\r\n\r\n{",
                  POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc")
    try:
        with contextlib.ExitStack() as clients:
            begun = [clients.enter_context(client(daemon, data)) for data in unfinished]
            idle = [clients.enter_context(client(daemon, data)) for data in (b"", GET)]
            half = clients.enter_context(client(daemon, unfinished[1]))
            half.shutdown(socket.SHUT_WR)
            clients.enter_context(client(daemon, GET * 1000))  # deaf: more than a socket takes
            for sock in begun:
                assert "within 1 s" in problem(answer_of(sock), 408)
                assert read_all(sock) == b""
            for sock in (*idle, half):
                read_all(sock)
            wait_until(lambda: metric(daemon, "vmm_api_connections") == 1, "the deaf one's end")
            assert metric(daemon, 'vmm_api_connections_closed_total{reason="timeout"}') >= 6
    finally:
        daemon.destroy()


def test_more_clients_than_there_may_be(host):
    """The one that has waited longest goes, and is told."""
    closed = 'vmm_api_connections_closed_total{reason="crowded"}'
    with contextlib.ExitStack() as clients:
        before = metric(host, closed)
        first = clients.enter_context(client(host))
        for _ in range(511):
            clients.enter_context(client(host))
        clients.enter_context(client(host))
        assert "too many clients" in problem(answer_of(first), 503)
        assert read_all(first) == b""
        assert host.vm("plain")
        assert metric(host, closed) > before
    wait_until(lambda: metric(host, "vmm_api_connections") == 1, "them to be gone")


def test_requests_that_wait(host):
    """So many and no more; who only asks has places of his own."""
    host.ok("POST", "/v1/vms", host.spec("deaf", "deaf"))
    host.ok("POST", "/v1/vms/deaf/start")
    body = json.dumps({"grace_seconds": 600}).encode()
    request = b"POST /v1/host/stop-guests HTTP/1.1\r\n" + HOST + \
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    with contextlib.ExitStack() as clients:
        waiting = [clients.enter_context(client(host, request)) for _ in range(128)]
        wait_until(lambda: metric(host, "vmm_api_requests_waiting") == 129, "them to wait")
        assert "128 requests wait" in problem(host.call("POST", "/v1/vms/deaf/shutdown"), 503)
        assert metric(host, "vmm_api_requests_refused_total") == 1
        host.ok("POST", "/v1/vms", host.spec("meanwhile"))
        assert host.vm("deaf")["state"] == "stopping"
        (pid,) = [vm["pid"] for vm in host.ok("GET", "/v1/vms")["items"] if vm["pid"]]
        subprocess.run(["kill", "-9", str(pid)], check=True)
        for sock in waiting:
            assert answer_of(sock).status == 200
    assert metric(host, "vmm_api_requests_waiting") == 1


def test_only_root_may(host):
    """Whatever became of the socket's mode."""
    path = host.run / "api.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    program = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
               "try: s.sendall(b'DELETE /v1/vms/plain HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
               "except OSError: pass\n"
               "while (d := s.recv(65536)): sys.stdout.buffer.write(d)")

    def call_as(uid):
        return subprocess.run(["/usr/bin/python3", "-c", program, path], user=uid, group=uid,
                              extra_groups=[], capture_output=True, text=True, timeout=DEADLINE,
                              check=False)
    assert "PermissionError" in call_as(60999).stderr
    path.chmod(0o666)
    try:
        for uid in (1, 60998, 60999, 61000):
            said = call_as(uid).stdout
            assert said.startswith("HTTP/1.1 403 ") and f"user {uid} may not" in said
    finally:
        path.chmod(0o600)
    assert host.vm("plain")
    assert metric(host, 'vmm_api_connections_closed_total{reason="forbidden"}') == 4


def test_descriptors_run_out():
    """Those who wait longest make room, and who asks is answered."""
    daemon = Daemon(vswitch="/bin/false")
    try:
        daemon.stop()
        daemon.command = ["prlimit", "--nofile=48:48", *daemon.command]
        daemon.start()
        assert "48 is all there is" in daemon.log()
        daemon.ok("POST", "/v1/vms", daemon.spec("plain"))
        with contextlib.ExitStack() as clients:
            idle = [clients.enter_context(client(daemon)) for _ in range(100)]
            for _ in range(5):
                assert daemon.vm("plain")
            assert "too many clients" in problem(answer_of(idle[0]), 503)
        assert "no more clients of the API can be taken" in daemon.log()
        assert daemon.vm("plain")
    finally:
        daemon.destroy()
