"""The attacks themselves: each a function of the socket and a scale, run in a process of its own,
which returns what became of its requests."""

import collections
import itertools
import json
import select
import time

from clients import HOST, LAST, Conn, Swarm, request

CREATE = b"POST /v1/vms HTTP/1.1\r\n" + HOST
BODY_MAX = 1 << 20


def spec(vm, cmdline="", **more):
    """A VM's definition."""
    return json.dumps({"id": vm, "memory": {"size_mib": 64},
                       "boot": {"kernel": "/k", "cmdline": cmdline}, **more}).encode()


def lasting(seconds, enough):
    """So long, and until there is enough of it."""
    end = time.monotonic() + seconds
    return lambda swarm: time.monotonic() > end and enough(swarm)


def largest_spec(vm):
    """As much as one definition can say."""
    text = "x" * 4095
    return {"id": vm, "memory": {"size_mib": 64}, "boot": {
        "kernel": "/" + text[:1022], "cmdline": text,
        "modules": [{"file": "/" + text[:1022], "cmdline": text} for _ in range(32)]}}


def idle(sock, count, seconds):
    """Connections that say nothing."""
    return Swarm(sock, count).run(
        (Conn(b"") for _ in range(count)),
        until=lasting(seconds, lambda swarm: swarm.opened == count and len(swarm.open) <= 512))


def slow(sock, count, seconds):
    """Headers that come letter by letter; who is closed comes again."""
    return Swarm(sock, count).run((Conn(CREATE + b"X-Drip: ", b"x") for _ in itertools.count()),
                                  until=lasting(seconds, lambda swarm: swarm.opened > count))


def slow_bodies(sock, count, seconds):
    """Nearly a MiB each, and then byte after byte."""
    data = CREATE + b"Content-Length: %d\r\n\r\n" % BODY_MAX + b" " * (BODY_MAX - (1 << 16))
    return Swarm(sock, count).run((Conn(data, b" ") for _ in itertools.count()),
                                  until=lasting(seconds, lambda swarm: swarm.opened > count))


def endless_headers(sock, count):
    """More and more of them, and one that does not end."""
    shapes = (b"X-More: and more\r\n" * 100000, b"X-Long: " + b"x" * 2000000, b"\r\n" * 100000)
    return Swarm(sock, 100).run(Conn(CREATE + shape) for shape, _ in
                                zip(itertools.cycle(shapes), range(count)))


def large_bodies(sock, count):
    """Over 1 MiB, with the length told and not, or with one told that never comes."""
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    told = request(b"POST", b"/v1/vms", b"x" * (BODY_MAX + 1))
    chunked = CREATE + LAST + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 20 + b"0\r\n\r\n"
    lied = CREATE + LAST + b"Content-Length: 9223372036854775807\r\n\r\n" + b"x" * 4 * BODY_MAX
    return Swarm(sock, 50 + count).run(
        (Conn(data) for data, _ in zip(itertools.cycle((told, chunked, told, chunked, lied)), range(count))),
        until=lambda swarm: swarm.outcomes["413"] == count // 5 * 4)


JSON = [b"[" * 100000, b"[" * 100000 + b"]" * 100000, b'{"a":' * 100000 + b"1" + b"}" * 100000,
        b'{"id": "a", "id": "b"}', b'{"id": "a\\u0000b"}', b'{"id": "\x00"}', b"\x00",
        b'{"vcpus": 1e999999}', b'{"vcpus": ' + b"9" * 1000000 + b"}", b'{"id": "\xff\xfe"}',
        b"[" + b"[]," * 349000 + b"[]]", b"{" + b",".join(b'"%d":1' % n for n in range(90000)) + b"}",
        b"[" + (b"[" * 30 + b"]" * 30 + b",") * 17000 + b"1]", b'{"vcpus": 0.' + b"1" * 1000000 + b"}",
        b'{"id": "' + b"\\u0001" * 170000 + b'"}', b"null", b'""', b""]


def json_tricks(sock, count):
    """Deep, doubled, with NUL, huge, not UTF-8, and as many values as a body can hold."""
    return Swarm(sock, 50).run(Conn(request(b"POST", b"/v1/vms", body)) for body, _ in
                               zip(itertools.cycle(JSON), range(count)))


PATHS = [b"/v1/vms/witness%00", b"/v1/vms/%2e%2e/%2e%2e/etc/passwd", b"/v1/vms/../../vms/witness",
         b"//v1//vms//witness", b"/v1/vms/witness%2f", b"/v1/vms/" + b"x" * 20000, b"/" * 30000,
         b"/v1/vms/'%20OR%20'1'='1", b"/v1/vms/witness';DROP%20TABLE%20vms;--", b"*",
         b"http://other/v1/vms/witness", b"/v1/vms/" + b"%41" * 9000, b"/v1/vms/\xff\xfe"]
IDS = ["'; DROP TABLE vms; --", "x' OR '1'='1", "../../etc", "%00", "a" * 100000, "witness ", ""]


def names(sock, count):
    """Path tricks and SQL, in paths and in ids; nothing of it may find or leave anything."""
    every = [request(method, path) for path in PATHS for method in (b"GET", b"DELETE")]
    every += [request(b"POST", b"/v1/vms", spec(vm)) for vm in IDS]
    return Swarm(sock, 50).run(Conn(data) for data, _ in zip(itertools.cycle(every), range(count)))


HIDDEN = request(b"DELETE", b"/v1/vms/witness")
FRAMINGS = [b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n",
            b"Content-Length: 2\r\nContent-Length: 500\r\n", b"Content-Length: 0x5\r\n",
            b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding : chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Content-Length: 18446744073709551617\r\n", b"Content-Type: text/html\r\nContent-Length: 0\r\n"]


def framings(sock, count):
    """Bodies that end in two places, with a request hidden in one of them."""
    every = [CREATE + LAST + framing + b"\r\n" + b"0\r\n\r\n" + HIDDEN for framing in FRAMINGS]
    return Swarm(sock, 50).run(Conn(data) for data, _ in zip(itertools.cycle(every), range(count)))


def pipelines(sock, connections, requests):
    """Many requests at once on each connection, all answered."""
    one = b"GET /v1/vms/witness HTTP/1.1\r\n" + HOST + b"\r\n"
    data = one * (requests - 1) + request(b"GET", b"/v1/vms/witness")
    outcomes = Swarm(sock, 20).run(Conn(data) for _ in range(connections))
    assert outcomes == {"200": connections * requests}, outcomes
    return outcomes


def half_closed(sock, count):
    """Said all, or not all, and closed for sending; or closed altogether."""
    outcomes = collections.Counter()
    whole = request(b"GET", b"/v1/vms/witness")
    for n in range(count):
        conn = Conn(b"")
        conn.sock.setblocking(True)
        conn.sock.connect(str(sock))
        conn.sock.sendall((whole, whole[:20], b"", CREATE)[n % 4])
        if n % 4 == 0:
            conn.sock.shutdown(1)
            while piece := conn.sock.recv(1 << 16):
                conn.heard += piece
        elif n % 8 > 3:
            conn.sock.shutdown(1)
        conn.sock.close()
        outcomes.update(each.decode() for each in conn.outcome())
    return outcomes


def deaf(sock, count, seconds):
    """Answers nobody reads, far more than a socket takes."""
    data = (b"GET /v1/vms HTTP/1.1\r\n" + HOST + b"\r\n") * 500
    return Swarm(sock, count, reads=False).run(
        (Conn(data) for _ in range(count)), until=lasting(seconds, lambda swarm: swarm.opened == count))


def streams(sock, count, seconds):
    """Readers of events who do not read, while there is more and more to read."""
    swarm = Swarm(sock, count, reads=False)
    end = time.monotonic() + seconds
    data = b"GET /v1/events HTTP/1.1\r\n" + HOST + b"Last-Event-ID: 0\r\n\r\n"
    noise = Swarm(sock, 1)

    def make_noise(_):
        for data in (request(b"POST", b"/v1/vms", spec("noise")), request(b"DELETE", b"/v1/vms/noise")):
            noise.run([Conn(data)])
        return time.monotonic() > end
    swarm.run((Conn(data) for _ in range(count)), until=make_noise)
    make_noise(swarm)  # at which those who have gone are missed
    return swarm.outcomes + noise.outcomes


def same_name(sock, count):
    """All at once create a VM of one name."""
    return Swarm(sock, count).run(Conn(request(b"POST", b"/v1/vms", spec("one"))) for _ in range(count))


def burst(sock, count, begun, looked):
    """Ask for the list of all VMs on many connections; how many were answered when told to look."""
    conns = [Conn(request(b"GET", b"/v1/vms")) for _ in range(count)]
    for conn in conns:
        conn.sock.setblocking(True)
        conn.sock.connect(str(sock))
        conn.sock.sendall(conn.data)
    begun.set()
    looked.wait()
    readable = select.select([conn.sock for conn in conns], [], [], 0)[0]
    return sum(each.recv(12) == b"HTTP/1.1 200" for each in readable)


def costly(sock, count, seconds):
    """The list of all VMs, for as many as can ask, and definitions as large as can be."""
    listing = request(b"GET", b"/v1/vms")
    large = request(b"POST", b"/v1/vms", JSON[10])
    return Swarm(sock, count).run(
        (Conn(data) for data in itertools.cycle((listing, listing, large))),
        until=lasting(seconds, lambda swarm: swarm.opened > count and swarm.outcomes["200"] > 0))
