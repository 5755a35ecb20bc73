package samba

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// inside is where a program in the root file system sees the directory it was
// given: always the same place, so that a provisioned domain can be copied.
const inside = "/srv"

// isolate runs a program in the root file system $1 with the directory $2 at
// [inside]. Nothing else of the root can be written, because several domains
// use it at once; what Samba insists on writing goes to memory of its own.
//
// The shell stays as process 1 of the namespace instead of giving way to the
// program: the kernel forgets who wanted a death signal when a process changes
// its user id, which Samba may do and the shell does not.
const isolate = `set -e
root=$1 dir=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for d in run tmp var/log/samba var/lib/samba var/cache/samba; do
	mount -t tmpfs none "$root/$d"
done
mount --bind "$dir" "$root` + inside + `"
chroot "$root" "$@"
exit`

// A process is a program that was started in a mount and a process namespace
// of its own. When its first process ends, the kernel ends all of them and
// takes the mounts away.
type process struct {
	pid  int
	done chan struct{} // closed when all of it has ended
	err  error         // of Wait; valid after done
}

// spawn starts argv with its output to out. It is killed when this program
// dies, however it does.
func spawn(out io.Writer, argv ...string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), // for a proxy of apt
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LC_ALL=C.UTF-8", "TMPDIR=/tmp", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // Go makes every mount in it private
		Pdeathsig:    syscall.SIGKILL,
		Setsid:       true, // an interrupt from the terminal is for the tests, not for Samba
	}
	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The death signal is sent when the thread that started the process
		// ends, so this one is kept until the process has.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		started <- nil
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s in namespaces of its own, which a container may forbid: %w", argv[0], err)
	}
	return p, nil
}

// kill ends all of p and waits for it. It is safe twice.
func (p *process) kill() {
	select {
	case <-p.done: // the pid may be another's by now
	default:
		syscall.Kill(p.pid, syscall.SIGKILL)
		<-p.done
	}
}

// signal sends s to every process of p, also to those that are started
// meanwhile.
func (p *process) signal(s syscall.Signal) error {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", p.pid))
	if err != nil {
		return err
	}
	for sent := map[int]bool{}; ; {
		all, err := os.ReadDir("/proc")
		if err != nil {
			return err
		}
		before := len(sent)
		for _, dir := range all {
			pid, err := strconv.Atoi(dir.Name())
			if err != nil || sent[pid] {
				continue
			}
			if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || ns != namespace {
				continue // it is another's, or has ended
			}
			if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
			sent[pid] = true
		}
		if len(sent) == before {
			return nil
		}
	}
}

// wait waits for the end of p, or kills it when ctx ends first.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.kill()
		return context.Cause(ctx)
	}
}

// run runs argv to its end and returns what it wrote. An error has the last
// lines of that.
func run(ctx context.Context, argv ...string) (string, error) {
	f, err := os.CreateTemp("", "writeback-samba-*.log")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	p, err := spawn(f, argv...)
	if err == nil {
		err = p.wait(ctx)
	}
	if err != nil {
		return "", errors.Join(err, errors.New(tail(f.Name())))
	}
	out, err := os.ReadFile(f.Name())
	return string(out), err
}

// within returns the command line that runs argv isolated in root with dir at
// [inside].
func within(root, dir string, argv ...string) []string {
	return append([]string{"sh", "-c", isolate, "sh", root, dir}, argv...)
}

// tail returns the last lines of a log file, for an error.
func tail(path string) string {
	const lines = 15
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// slow tells log that something takes a while, and afterwards how long it took.
func slow(log io.Writer, what string) (done func()) {
	fmt.Fprintf(log, "samba: %s\n", what)
	start := time.Now()
	return func() { fmt.Fprintf(log, "samba: done in %s\n", time.Since(start).Round(100*time.Millisecond)) }
}
