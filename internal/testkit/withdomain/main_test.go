package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"writeback/internal/testkit/samba"
)

// program makes the test binary withdomain; child makes it a command that
// withdomain runs, and says how it ends.
const (
	program = "WRITEBACK_WITHDOMAIN_TEST"
	child   = "WRITEBACK_WITHDOMAIN_TEST_CHILD"
)

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		os.Unsetenv(program)
		main()
	}
	os.Exit(m.Run())
}

func withdomain(t *testing.T, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], argv...)
	cmd.Env = append(os.Environ(), program+"=1", "TMPDIR="+t.TempDir())
	return cmd
}

// TestSharedDomain runs this test again below withdomain.
func TestSharedDomain(t *testing.T) {
	if os.Getenv(child) != "" {
		dir, end, err := samba.Shared(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer end()
		if _, err := samba.NewUser(t.Context(), dir, samba.UserSpec{}); err != nil {
			t.Fatal(err)
		}
		t.Log("domain at " + dir.URL)
		return
	}
	cmd := withdomain(t, os.Args[0], "-test.run=^TestSharedDomain$", "-test.v")
	cmd.Env = append(cmd.Env, child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("domain at ldaps://127.")) {
		t.Errorf("%v, want a test that has used the domain:\n%s", err, out)
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name string
		argv []string
		want int
	}{
		{"no command", nil, 2},
		{"command not found", []string{"/nowhere/at-all"}, 1},
		{"command fails", []string{"sh", "-c", "exit 7"}, 7},
		{"command is killed", []string{"sh", "-c", "kill -9 $$"}, 137},
		{"folder exists while it runs", []string{"sh", "-c", `test -s "$` + samba.SharedVariable + `"`}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := withdomain(t, tt.argv...)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != tt.want {
				t.Errorf("exit status %d, want %d:\n%s", got, tt.want, out)
			}
			empty(t, cmd)
		})
	}
}

func TestSignalIsPassedOn(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			// The shell waits for a child that never ends by itself.
			cmd := withdomain(t, "sh", "-c", `trap 'kill $!; exit 9' INT TERM; tail -f /dev/null & echo ready; wait`)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != 9 {
				t.Errorf("exit status %d, want 9, the command's answer to a signal", got)
			}
			empty(t, cmd)
		})
	}
}

// TestKilled shows that the domain ends with withdomain, even if that cannot
// do anything about it.
func TestKilled(t *testing.T) {
	cmd := withdomain(t, "sh", "-c", `echo "$`+samba.SharedVariable+`"; exec cat`)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() // and so end cat
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	path, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(samba.SharedVariable, strings.TrimSpace(path))
	dir, _, err := samba.Shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(dir.URL, "ldaps://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Samba says nothing before it is spoken to: a read ends when Samba does.
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading from the domain: %v, want its end", err)
	}
	in.Close()
	cmd.Wait()
}

// empty fails unless cmd has removed what it made in its TMPDIR.
func empty(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	for _, v := range cmd.Env {
		if dir, ok := strings.CutPrefix(v, "TMPDIR="); ok {
			if left, err := filepath.Glob(filepath.Join(dir, "writeback-*")); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary folder: %q (%v)", left, err)
			}
		}
	}
}
