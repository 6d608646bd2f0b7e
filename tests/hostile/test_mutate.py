"""The mutation campaign in short: what it takes for a check, and that a deleted one is noticed."""

import subprocess

import campaign_mutate
import mutation

SOURCE = """
/* if (a > b) return; */
static int f(struct x *p, unsigned int n)
{
	if (p->n == 3 || __builtin_expect(n >= 8, 0))
		return 1;
	if (!p)
		return 2;
	if (__builtin_expect(n > p->n || range_within(n, 1, 2), 0)) {
		count(p, ")");
		return 3;
	}
	if (n < p->room && p->on)
		put(p, n);
	return n < 4 ? 5 : 6;
}

static bool g(unsigned int n)
{
	return n <= 3 && n % 2 == 0;
}
"""


def test_what_counts_as_a_check():
    checks = mutation.bounds_checks(SOURCE)
    assert [(check.line, check.text, check.neutral) for check in checks] == [
        (5, "p->n == 3", "0 &&"), (5, "__builtin_expect(n >= 8, 0)", "0 &&"),
        (9, "n > p->n", "0 &&"), (9, "range_within(n, 1, 2)", "0 &&"),
        (13, "n < p->room", "1 ||"), (15, "n < 4", "1 ||"),
        (20, "n <= 3", "1 ||"), (20, "n % 2 == 0", "1 ||")]
    assert "if ((0 && (p->n == 3)) ||" in checks[0].deleted(SOURCE)
    assert "return n <= 3 && (1 || (n % 2 == 0));" in checks[-1].deleted(SOURCE)


def test_every_file_has_tests_and_checks():
    for name in campaign_mutate.chosen_files(campaign_mutate.DEFAULT):
        assert campaign_mutate.test_patterns(name), name
    listed = subprocess.run(["/usr/bin/python3", campaign_mutate.__file__, "--list"], check=True,
                            capture_output=True, text=True).stdout.splitlines()
    assert int(listed[-1].split()[0]) == len(listed) - 1 > 300


def test_known_survivors_still_exist():
    """A line of mutants.list whose check is gone would hide the next one."""
    texts = {name: {campaign_mutate.one_line(check) for check in mutation.bounds_checks(
        (campaign_mutate.ROOT / name).read_text(encoding="utf-8"))}
             for name, _ in campaign_mutate.known_survivors()}
    for name, check in campaign_mutate.known_survivors():
        assert check in texts[name], (name, check)


def test_a_deleted_check_is_noticed():
    """One file's whole campaign."""
    done = subprocess.run(["/usr/bin/python3", campaign_mutate.__file__, "--plain", "--files", "vhost-user/vring.c"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(100.0 %), 0 did not build" in done.stdout
