package samba

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/sys/unix"

	"writeback/internal/testkit"
)

// helper makes the test binary the program that [TestParentKilled] kills. Its
// value is what to start, a colon, and the folder.
const helper = "WRITEBACK_SAMBA_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helper) == "" {
		os.Exit(m.Run())
	}
	kind, dir, _ := strings.Cut(os.Getenv(helper), ":")
	pids, err := start(kind, dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(pids...)
	io.Copy(io.Discard, os.Stdin) // until killed
	os.Exit(1)
}

func start(kind, dir string) (pids []any, err error) {
	if kind == "pair" {
		p, err := StartPair(context.Background(), Options{Dir: dir})
		if err != nil {
			return nil, err
		}
		return []any{p.DC1.PID(), p.DC2.PID()}, nil
	}
	d, err := Start(context.Background(), Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	return []any{d.PID()}, nil
}

func TestClose(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		dir  string
	}{
		{"temporary folder", ""},
		{"given folder", filepath.Join(t.TempDir(), "domain")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Start(t.Context(), Options{Dir: tt.dir, Log: t.Output()})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			pid, ns := d.PID(), namespace(t, d.PID())
			if n := len(processesIn(t, ns)); n < 2 {
				t.Fatalf("%d processes in the domain's namespace, want some", n)
			}
			for range 2 {
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
			nothingLeft(t, d.dir, ns)
			if err := unix.Kill(pid, 0); err != unix.ESRCH {
				t.Errorf("process %d: %v, want none", pid, err)
			}
			_, err = os.Stat(d.dir)
			if gone := os.IsNotExist(err); gone != (tt.dir == "") {
				t.Errorf("folder is gone: %t", gone)
			}
		})
	}
}

func TestRestartKeepsPasswords(t *testing.T) {
	t.Parallel()
	d, err := Start(t.Context(), Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	u, err := NewUser(t.Context(), d.Directory, UserSpec{})
	if err != nil {
		t.Fatal(err)
	}
	d.Kill()
	if err := bindAs(d.Directory, u.DN, u.Password); code(err) != ldap.ErrorNetwork {
		t.Errorf("binding to a killed domain: %v, want a network error", err)
	}
	if err := d.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := bindAs(d.Directory, u.DN, u.Password); err != nil {
		t.Error(err)
	}
}

func TestParentKilled(t *testing.T) {
	t.Parallel()
	for kind, controllers := range map[string]int{"domain": 1, "pair": 2} {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "domain")
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), helper+"="+kind+":"+dir)
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(out).ReadString('\n')
			pids := strings.Fields(line)
			if len(pids) != controllers {
				t.Fatalf("helper says %q, want %d process ids", line, controllers)
			}
			var ns []string
			var ends []unix.PollFd
			for _, s := range pids {
				pid, err := strconv.Atoi(s)
				if err != nil {
					t.Fatalf("helper says %q", line)
				}
				fd, err := unix.PidfdOpen(pid, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer unix.Close(fd)
				ns = append(ns, namespace(t, pid))
				ends = append(ends, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}

			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			for i := range ends {
				// The descriptor becomes readable when the process has ended.
				n, err := unix.Poll(ends[i:i+1], int((10 * time.Second).Milliseconds()))
				if n != 1 || err != nil {
					t.Fatalf("process %s has outlived its parent (%v)", pids[i], err)
				}
				nothingLeft(t, dir, ns[i])
			}
		})
	}
}

func TestStartRefuses(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Start(t.Context(), Options{Dir: full, Log: t.Output()})
	if err == nil {
		d.Close()
		t.Fatal("started in a folder that was not empty")
	}
	if _, err := os.Stat(filepath.Join(full, "mine")); err != nil {
		t.Error(err)
	}
}

// TestSambaDies shows that its last words reach whoever started it.
func TestSambaDies(t *testing.T) {
	t.Parallel()
	d, err := Start(t.Context(), Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Kill()
	if err := os.WriteFile(filepath.Join(d.dir, "smb.conf"), []byte("[global]\nserver role = standalone\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err = d.Restart(t.Context())
	if err == nil || !strings.Contains(err.Error(), "it ended") || !strings.Contains(err.Error(), "daemon failed to start") {
		t.Errorf("Restart with a wrong smb.conf: %v, want its reason", err)
	}
	if d.PID() != 0 {
		t.Errorf("PID is %d, want 0", d.PID())
	}
}

// TestAddressInUse shows that an address is only taken when all of it is free.
func TestAddressInUse(t *testing.T) {
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "636"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := listenable(addr); err == nil {
		t.Errorf("%s is free, want its port 636 in use", addr)
	}
}

// namespace names the process namespace that starts at pid.
func namespace(t *testing.T, pid int) string {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	if ns == own {
		t.Fatalf("process %d is in the namespace of the test", pid)
	}
	return ns
}

// processesIn lists the processes of a namespace, but for one that has ended
// and whose foster parent has not noticed.
func processesIn(t *testing.T, ns string) (dirs []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		if got, err := os.Readlink(dir + "/ns/pid"); err != nil || got != ns {
			continue
		}
		status, err := os.ReadFile(dir + "/status")
		if err == nil && !strings.Contains(string(status), "\nState:\tZ") {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// nothingLeft fails if a process of a domain is there, or a mount that could
// be one of its.
func nothingLeft(t *testing.T, dir, ns string) {
	t.Helper()
	if left := processesIn(t, ns); len(left) > 0 {
		t.Errorf("processes left: %q", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := testkit.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cache, dir} {
		if strings.Contains(string(mounts), path) {
			t.Errorf("a mount of %s is left:\n%s", path, mounts)
		}
	}
}
