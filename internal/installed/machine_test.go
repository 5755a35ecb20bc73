// Package installed tests the Debian package of the consumer where it is to be
// used: on a machine that systemd runs.
package installed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"writeback/internal/testkit"
)

// suite is the Debian of the machine: the newest stable one.
const suite = "trixie"

// boot makes the root file system $1 a machine, for which $2 is an empty directory,
// $3 what it finds in /mnt, and $4 a cgroup of its own. What it writes goes to memory.
// systemd wants mounts to be shared, as a container's manager leaves them.
const boot = `set -e
echo $$ > "$4/cgroup.procs"
exec unshare --cgroup sh -c 'set -e
mount -t tmpfs tmpfs "$2"
mkdir "$2/up" "$2/work" "$2/m"
m="$2/m"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/up,workdir=$2/work" "$m"
mount -t proc proc "$m/proc"
mount -t sysfs sysfs "$m/sys"
mount -t cgroup2 cgroup2 "$m/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$m/run"
mount -t tmpfs -o mode=755 tmpfs "$m/dev"
for d in null zero full random urandom tty; do
	touch "$m/dev/$d"
	mount --bind "/dev/$d" "$m/dev/$d"
done
mkdir "$m/dev/pts" "$m/dev/shm" "$m/old"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$m/dev/pts"
ln -s pts/ptmx "$m/dev/ptmx"
mount --bind "$3" "$m/mnt"
tr -d - < /proc/sys/kernel/random/uuid > "$m/etc/machine-id"
cd "$m"
pivot_root . old
umount -l /old
mount --make-rshared /
exec env -i container=private PATH=/usr/sbin:/usr/bin /usr/lib/systemd/systemd' sh "$@"
`

// A machine has systemd as its first process.
type machine struct {
	t   *testing.T
	pid int
	mnt string // is its /mnt
}

// start boots a machine that ends with the test.
func start(t *testing.T) *machine {
	t.Helper()
	root, err := testkit.Cached(t.Context(), "systemd-"+testkit.CacheKey(suite), func(tmp string) error { return debootstrap(t.Context(), tmp) })
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, mnt: t.TempDir()}
	cmd := exec.Command("sh", "-c", boot, "sh", root, t.TempDir(), m.mnt, cgroup(t))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS, // Go makes every mount in it private
		Pdeathsig:    syscall.SIGKILL,
		Setsid:       true,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.pid = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	err = backoff.Retry(func() error {
		select {
		case err := <-ended:
			ended <- err
			return backoff.Permanent(fmt.Errorf("the machine ended: %w\n%s", err, said.String()))
		default:
		}
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", m.pid)); err != nil || filepath.Base(exe) != "systemd" {
			return fmt.Errorf("its first process is %s, %v", exe, err)
		}
		// Degraded is a machine that has no kernel of its own to load modules into.
		if out, err := m.try("systemctl", "is-system-running", "--wait"); err != nil && !strings.Contains(out, "degraded") {
			return fmt.Errorf("%s: %w", out, err)
		}
		return nil
	}, backoff.NewExponentialBackOff(backoff.WithMaxInterval(500*time.Millisecond), backoff.WithMaxElapsedTime(3*time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// debootstrap makes a root file system with systemd in dir.
func debootstrap(ctx context.Context, dir string) error {
	list, err := testkit.Archives(ctx)
	if err != nil {
		return err
	}
	if err := testkit.Install(ctx, "mmdebstrap", "mmdebstrap"); err != nil {
		return err
	}
	var failed error
	for _, archive := range list {
		if err := testkit.Empty(dir); err != nil {
			return err
		}
		// mmdebstrap wants a /proc that shows its own processes.
		out, err := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child",
			"sh", "-c", `mount -t proc proc /proc && "$@"; exit`, "sh",
			"mmdebstrap", "--quiet", "--variant=minbase", "--aptopt=APT::Install-Recommends \"false\"", "--include=systemd",
			suite, dir, "deb "+archive+" "+suite+" main").CombinedOutput()
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("making a root file system from %s: %w\n%s", archive, err, out))
	}
	return failed
}

// cgroup makes a cgroup (version 2) for a machine, below that of this process.
func cgroup(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var top string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			top = f[1]
		}
	}
	if top == "" {
		t.Fatal("this machine has no cgroups of version 2, which systemd needs")
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			top = filepath.Join(top, path)
		}
	}
	dir, err := os.MkdirTemp(top, "writeback-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, dir) })
	return dir
}

// remove removes a cgroup with those below it, once the last process has left it.
func remove(t *testing.T, dir string) {
	below, err := filepath.Glob(filepath.Join(dir, "*/"))
	if err != nil {
		t.Error(err)
	}
	for _, d := range below {
		if info, err := os.Stat(d); err == nil && info.IsDir() {
			remove(t, d)
		}
	}
	err = backoff.Retry(func() error { return os.Remove(dir) },
		backoff.NewExponentialBackOff(backoff.WithInitialInterval(10*time.Millisecond), backoff.WithMaxElapsedTime(10*time.Second)))
	if err != nil {
		t.Error(err)
	}
}

// try runs a command on the machine and returns what it says.
func (m *machine) try(argv ...string) (string, error) {
	in := []string{"--target", fmt.Sprint(m.pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	out, err := exec.Command("nsenter", append(in, argv...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run runs a command that must work.
func (m *machine) run(argv ...string) string {
	m.t.Helper()
	out, err := m.try(argv...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return out
}

// shell runs lines of shell that must work.
func (m *machine) shell(lines string) string {
	m.t.Helper()
	return m.run("sh", "-ec", lines)
}

// journal returns what a service has logged so far; journald may lag behind.
func (m *machine) journal(service string, matches ...string) string {
	m.t.Helper()
	m.run("journalctl", "--sync")
	return m.run(append([]string{"journalctl", "--no-pager", "--unit=" + service}, matches...)...)
}

// property returns what systemd says of the consumer's service.
func (m *machine) property(name string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--property="+name, "--value", unit)
}

// await waits until a property of a service has a value that is good.
func (m *machine) await(service, name string, good func(string) bool) string {
	m.t.Helper()
	var value string
	err := backoff.Retry(func() error {
		if value = m.run("systemctl", "show", "--property="+name, "--value", service); !good(value) {
			return errors.New(value)
		}
		return nil
	}, backoff.NewExponentialBackOff(backoff.WithMaxInterval(200*time.Millisecond), backoff.WithMaxElapsedTime(3*time.Minute)))
	if err != nil {
		m.t.Fatalf("%s stays %q\n%s", name, value, m.journal(service))
	}
	return value
}
