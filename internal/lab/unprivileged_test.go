package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"writeback/internal/testkit"
)

// nobody is the user that the programs run as here. It has nothing else.
const nobody = 65534

// asNobody is a command that runs as that user, and that may write core dumps of
// any size.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	id := strconv.Itoa(nobody)
	return exec.Command("setpriv", append([]string{"--reuid=" + id, "--regid=" + id, "--clear-groups", "--no-new-privs",
		"sh", "-c", `ulimit -c unlimited && exec "$@"`, "sh"}, cmd.Args...)...)
}

// TestUnprivileged runs the programs as a user without any rights. They do their
// work, say of themselves what they say to root, and keep their memory from others
// of the same user.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "writeback-unprivileged-") // t.TempDir has parents that only root may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin := filepath.Join(dir, "bin")
	for _, name := range []string{"publisher", "consumer", "nats-server"} {
		copyProgram(t, filepath.Join(binaries(t), name), filepath.Join(bin, name))
	}
	out := &output{}
	l, err := Start(t.Context(), Options{
		Bin: bin, NATS: filepath.Join(testkit.Root(t), "nats"), Dir: filepath.Join(dir, "lab"),
		Consumers: 2, Directory: "fake", Out: out, Endpoints: filepath.Join(t.TempDir(), "endpoints.json"), Idle: true,
	})
	if err != nil {
		t.Fatalf("starting the lab: %v\n%s", err, out)
	}
	t.Cleanup(l.Close)
	for _, root := range []string{dir, l.runtime} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, nobody, nobody)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, command := range map[string]func() *exec.Cmd{
		"publisher":     l.program("publisher", "serve", "-config", l.path("publisher", "publisher.yaml")),
		consumerName(0): l.program("consumer", "run", "-config", l.path(consumerName(0), "consumer.yaml")),
		consumerName(1): l.program("consumer", "run", "-config", l.path(consumerName(1), "consumer.yaml")),
		"control":       func() *exec.Cmd { return exec.Command("sleep", "600") },
	} {
		if _, err := l.run(name, func() *exec.Cmd { return asNobody(command()) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.awaitReady(t.Context()), l.writeEndpoints()); err != nil {
		t.Fatalf("%v\n%s", err, l.log(t, "publisher"))
	}
	e := l.endpoints(t)
	for i := range 4 {
		wantApplied(t, e, "upn", l.Directory.Users[i].UPN, fmt.Sprintf("Nobodys-Word-%d", i))
	}
	for name, url := range operations(t, l.Dir, l.opts.Consumers) {
		page := metrics(t, url)
		for _, series := range []string{"process_open_fds ", "process_resident_memory_bytes ", "process_cpu_seconds_total ", "process_max_fds "} {
			if !strings.Contains(page, "\n"+series) {
				t.Errorf("%s does not say %s", name, series)
			}
		}
	}
	for _, p := range e.Processes {
		if p.Name != "nats" {
			guarded(t, p, p.Name != "control")
		}
	}
}

// guarded checks whether others of the same user are kept from a process, and
// whether it can leave a core dump.
func guarded(t *testing.T, p processEndpoint, want bool) {
	t.Helper()
	var info syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/mem", p.PID), &info); err != nil {
		t.Fatal(err)
	}
	// The memory of a process that cannot be dumped belongs to root (proc(5)).
	if got := info.Uid == 0; got != want {
		t.Errorf("the memory of %s belongs to user %d", p.Name, info.Uid)
	}
	for _, file := range []string{"environ", "maps"} {
		err := asNobody(exec.Command("cat", fmt.Sprintf("/proc/%d/%s", p.PID, file))).Run()
		if got := err != nil; got != want {
			t.Errorf("%s of %s: reading it as the same user ends with %v", file, p.Name, err)
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			if got := strings.Fields(rest)[0] == "0"; got != want {
				t.Errorf("%s may write core dumps of %s", p.Name, strings.TrimSpace(rest))
			}
		}
	}
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
}
