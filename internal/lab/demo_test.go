package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A demo is a running bin/demo.
type demo struct {
	cmd       *exec.Cmd
	out       *output
	temp      string // its TMPDIR
	endpoints string
	ended     chan struct{}
}

// startDemo starts bin/demo, which ends with the test.
func startDemo(t *testing.T, args ...string) *demo {
	t.Helper()
	d := &demo{
		out: &output{}, temp: t.TempDir(), endpoints: filepath.Join(t.TempDir(), "endpoints.json"),
		ended: make(chan struct{}),
	}
	d.cmd = exec.Command(filepath.Join(binaries(t), "demo"), append([]string{"-endpoints", d.endpoints}, args...)...)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.temp)
	// It dies with the tests, also when they are killed.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is about this thread
		defer close(d.ended)
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.cmd.Process.Kill()
		<-d.ended
		if t.Failed() {
			t.Logf("the demo printed:\n%s", d.out)
		}
	})
	return d
}

// says waits until the demo has printed what matches pattern.
func (d *demo) says(t *testing.T, pattern string) {
	t.Helper()
	await(t, "waiting for "+pattern, func() error {
		if !regexp.MustCompile(`(?m)` + pattern).MatchString(d.out.String()) {
			return errors.New("it is not printed")
		}
		return nil
	})
}

// wait waits for the demo's end and returns its exit status.
func (d *demo) wait(t *testing.T) int {
	t.Helper()
	await(t, "waiting for the end of the demo", func() error {
		select {
		case <-d.ended:
			return nil
		default:
			return errors.New("it still runs")
		}
	})
	return d.cmd.ProcessState.ExitCode()
}

// family returns the process and all that descend from it.
func family(t *testing.T, pid int) []int {
	t.Helper()
	children := make(map[int][]int)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		var state string
		var child, parent int
		fmt.Sscan(string(text), &child)
		fmt.Sscan(rest, &state, &parent)
		children[parent] = append(children[parent], child)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// wantGone waits until none of the processes is left.
func wantGone(t *testing.T, pids []int) {
	t.Helper()
	await(t, "looking for processes that are left", func() error {
		if left := slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return !alive(pid) }); len(left) > 0 {
			return fmt.Errorf("processes %v are left of %v", left, pids)
		}
		return nil
	})
}

// runtimeDir returns the directory in memory of the demo whose configuration is
// in temp.
func (d *demo) runtimeDir(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(d.temp, "*", "consumer1", "consumer.yaml"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the demo has the configurations %v, %v; want one", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var cfg struct {
		RuntimeDir string `yaml:"runtime_dir"`
	}
	if err := yaml.Unmarshal(text, &cfg); err != nil || cfg.RuntimeDir == "" {
		t.Fatalf("%s: no runtime_dir, %v", files[0], err)
	}
	return filepath.Dir(cfg.RuntimeDir)
}

// wantNothingLeft looks for folders and mounts of a demo that has ended.
func (d *demo) wantNothingLeft(t *testing.T, runtimeDir string) {
	t.Helper()
	left, err := os.ReadDir(d.temp)
	if err != nil || len(left) != 0 {
		t.Errorf("the demo has left %v in its folder for temporary files, %v", left, err)
	}
	if _, err := os.Stat(runtimeDir); !os.IsNotExist(err) {
		t.Errorf("the demo has left %s: %v", runtimeDir, err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), d.temp) {
		t.Errorf("the demo has left mounts: %v\n%s", err, mounts)
	}
}

func TestDemoOnce(t *testing.T) {
	for directory, first := range map[string]string{
		"fake":  `fake AD +a stand-in inside this program, not a real Active Directory: ldaps://127\.`,
		"samba": `samba +pid \d+ +/`,
	} {
		t.Run(directory, func(t *testing.T) {
			d := startDemo(t, "-once", "-directory", directory)
			if status := d.wait(t); status != 0 {
				t.Fatalf("exit status %d", status)
			}
			lines := []string{
				`^Starting writeback on this machine:$`,
				`^  ` + first,
				`^  nats +pid \d+ +/.*/logs/nats\.log$`,
				`^  consumer1 +pid \d+ +/.*/logs/consumer1\.log$`,
				`^  consumer2 +pid \d+ +/.*/logs/consumer2\.log$`,
				`^  publisher +pid \d+ +/.*/logs/publisher\.log$`,
				`^Reset user01@corp\.example\.com through the API:$`,
				`^  200 applied: The new password is set\.$`,
			}
			for _, point := range []string{"accepted", "sealed", "stored", "picked_up", "applied", "answered"} {
				lines = append(lines, `^    `+point+` +\d+\.\d ms$`)
			}
			lines = append(lines,
				`^  The directory takes the new password\.$`,
				`^  The directory refuses the old password\.$`,
				`^Reset user01@corp\.example\.com to a password that the domain's policy does not allow:$`,
				`^  422 password_[a-z_]+: .*\.$`,
				`^  The password in force has not changed\.$`,
				`^All was as expected\.$`,
			)
			rest := d.out.String()
			for _, line := range lines {
				at := regexp.MustCompile(`(?m)` + line).FindStringIndex(rest)
				if at == nil {
					t.Fatalf("the demo did not print %s after what came before:\n%s", line, d.out)
				}
				rest = rest[at[1]:]
			}
			if strings.Contains(d.out.String(), "died") {
				t.Errorf("a process died:\n%s", d.out)
			}
			for _, m := range regexp.MustCompile(`pid (\d+)`).FindAllStringSubmatch(d.out.String(), -1) {
				pid, _ := strconv.Atoi(m[1])
				wantGone(t, []int{pid})
			}
			d.wantNothingLeft(t, "/nowhere")
		})
	}
}

// TestDemoRefused looks at command lines that cannot work.
func TestDemoRefused(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"an argument", []string{"now"}, 2, "there are no other arguments"},
		{"an unknown flag", []string{"-fast"}, 2, "flag provided but not defined: -fast"},
		{"no consumers", []string{"-consumers", "0"}, 2, "-consumers must be 1 to 8"},
		{"too many consumers", []string{"-consumers", "9"}, 2, "-consumers must be 1 to 8"},
		{"an unknown directory", []string{"-directory", "openldap"}, 2, "-directory samba or fake"},
		{"a directory that is not empty", []string{"-directory", "fake", "-dir", full}, 1, "is not empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := startDemo(t, tt.args...)
			if status := d.wait(t); status != tt.status || !strings.Contains(d.out.String(), tt.want) {
				t.Errorf("exit status %d, want %d and %q", status, tt.status, tt.want)
			}
			d.wantNothingLeft(t, "/nowhere")
		})
	}
}
