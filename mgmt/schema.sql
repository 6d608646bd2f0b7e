-- The desired state of the host, and what is needed to find its processes again.
-- PRAGMA user_version = 1 says that this is what is there.

CREATE TABLE vms (
	id        TEXT PRIMARY KEY,
	uid       INTEGER NOT NULL UNIQUE,       -- the user its vmm runs as
	spec      TEXT NOT NULL,                 -- JSON, as checked by vm_spec_check
	desired   TEXT NOT NULL DEFAULT 'stopped'
	          CHECK (desired IN ('stopped', 'running', 'paused')),
	forced    INTEGER NOT NULL DEFAULT 0,    -- stopped the hard way, not by the power button
	failed    INTEGER NOT NULL DEFAULT 0,    -- its last run ended badly
	last_exit TEXT                           -- JSON; why its last process ended
) STRICT;

CREATE TABLE ports (
	id        TEXT PRIMARY KEY,
	spec      TEXT NOT NULL                  -- JSON, as checked by port_spec_check
) STRICT;

-- 'switch' or 'vm:ID'. pid 0: on its way, from before its ports are made. A pid alone names nothing: it is reused within a
-- boot, and so is the start time in another one.
CREATE TABLE processes (
	name       TEXT PRIMARY KEY,
	pid        INTEGER NOT NULL,
	start_time INTEGER NOT NULL,             -- /proc/PID/stat, field 22: clock ticks since boot
	boot_id    TEXT NOT NULL,
	started_at TEXT NOT NULL                 -- RFC 3339, UTC
) STRICT;
