package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"writeback/internal/queue"
	"writeback/internal/testkit"
	"writeback/internal/testkit/broker"
)

// auditor writes another configuration of an auditor, with the broker and the
// record.key at these places, and returns its path. Without a key it reads no names.
func (l *Lab) auditor(t testing.TB, from node, keys string) string {
	t.Helper()
	cfg := readNode(t, l.AuditFile())
	cfg["broker"], cfg["record_key_file"] = from, keys
	path := filepath.Join(t.TempDir(), "audit.yaml")
	if err := write(path, cfg); err != nil {
		t.Fatal(err)
	}
	return path
}

// audit runs the program and returns what it printed and its exit code.
func (l *Lab) audit(t testing.TB, config, command string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(l.opts.Bin, "audit"), append([]string{command, "-config", config}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if code = cmd.ProcessState.ExitCode(); code != 0 {
		t.Logf("audit %s: %s", command, stderr.String())
	}
	return stdout.String(), code
}

// stopPrograms ends publisher and consumers in an orderly way.
func (l *Lab) stopPrograms() {
	l.mu.Lock()
	l.closing = true // it is not a failure
	var ours []*process
	l.processes = slices.DeleteFunc(l.processes, func(p *process) bool {
		if p.name != "publisher" && !strings.HasPrefix(p.name, "consumer") {
			return false
		}
		ours = append(ours, p)
		return true
	})
	l.mu.Unlock()
	for _, p := range ours {
		p.end()
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	l := startLab(t, "fake")
	e, users := l.endpoints(t), l.Directory.Users
	config, blind := l.AuditFile(), l.auditor(t, l.brokerNode(queue.Auditor), "")
	head := filepath.Join(t.TempDir(), "head.json")
	done := wantApplied(t, e, "upn", users[0].UPN, "Genuine-Word-0")
	for i, user := range users[1:6] {
		wantApplied(t, e, "upn", user.UPN, fmt.Sprintf("Genuine-Word-%d", i+1))
	}
	if _, err := e.post(t.Context(), "upn", "nobody@corp.example.com", "Genuine-Word-9"); err != nil {
		t.Fatal(err)
	}
	whole := func(t *testing.T, config string, args ...string) string {
		t.Helper()
		out, code := l.audit(t, config, "verify", args...)
		if code != 0 || !strings.Contains(out, "WHOLE: nothing") {
			t.Errorf("audit verify %v exits with %d:\n%s", args, code, out)
		}
		return out
	}

	t.Run("verify", func(t *testing.T) {
		if out := whole(t, config); !strings.Contains(out, "7 begin here, of which 0 have no outcome") {
			t.Errorf("the report says\n%s", out)
		}
		whole(t, blind)
		if _, code := l.audit(t, config, "head", "-out", head); code != 0 {
			t.Errorf("audit head exits with %d", code)
		}
	})
	t.Run("replay", func(t *testing.T) {
		out, code := l.audit(t, config, "replay", "-request", done.ID)
		for _, want := range []string{users[0].UPN, "accepted", "claimed", "settled applied", "admin:test"} {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("the timeline (exit code %d) has no %q:\n%s", code, want, out)
			}
		}
		for filter, want := range map[string]int{"-account=" + users[0].UPN: 3, "-code=account_not_found": 1, "-consumer=consumer9": 0, "-source=demo": 22, "-operation=unlock": 0} {
			out, code := l.audit(t, config, "replay", filter, "-format", "json")
			if n := strings.Count(out, "\n"); code != 0 || n != want {
				t.Errorf("replay %s prints %d lines, exit code %d, want %d", filter, n, code, want)
			}
		}
		if out, _ := l.audit(t, blind, "replay"); strings.Contains(out, users[0].UPN) || !strings.Contains(out, "(hidden)") {
			t.Errorf("without record.key, replay prints\n%s", out)
		}
		checkpoint := filepath.Join(t.TempDir(), "at.json")
		first, _ := l.audit(t, config, "replay", "-format", "json", "-checkpoint", checkpoint)
		second, _ := l.audit(t, config, "replay", "-format", "json", "-checkpoint", checkpoint)
		if strings.Count(first, "\n") < 21 || strings.Count(second, "\n") > 3 {
			t.Errorf("replay with a checkpoint prints\n%s\nand then\n%s", first, second)
		}
	})
	t.Run("reconcile", func(t *testing.T) {
		if out, code := l.audit(t, config, "reconcile", "-from", "1h"); code != 0 || !strings.Contains(out, "7 requests, 0 under way") {
			t.Errorf("audit reconcile exits with %d:\n%s", code, out)
		}
	})
	archive := filepath.Join(t.TempDir(), "archive.json")
	t.Run("archive", func(t *testing.T) {
		if _, code := l.audit(t, config, "export", "-format", "archive", "-out", archive); code != 0 {
			t.Fatalf("audit export exits with %d", code)
		}
		whole(t, config, "-archive", archive)
		whole(t, config, "-archive", archive, "-head", head)
		wantApplied(t, e, "upn", users[6].UPN, "Genuine-Word-6")
		if _, code := l.audit(t, config, "export", "-format", "archive", "-out", archive); code != 0 {
			t.Fatalf("audit export exits with %d", code)
		}
		if out := whole(t, config, "-archive", archive); !strings.Contains(out, "8 begin here") {
			t.Errorf("the archive that has grown holds\n%s", out)
		}
		text, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		cut := filepath.Join(t.TempDir(), "cut.json")
		fifth := slices.IndexFunc(lines, func(line []byte) bool { return bytes.HasPrefix(line, []byte(`{"stream":"RECORDS","seq":5,`)) })
		if err := os.WriteFile(cut, bytes.Join(slices.Delete(slices.Clone(lines), fifth, fifth+1), nil), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := l.audit(t, config, "verify", "-archive", cut); code != 1 || !strings.Contains(out, "FIRST FAULT") {
			t.Errorf("a line was taken out: exit code %d\n%s", code, out)
		}
		if err := os.WriteFile(cut, bytes.Join(lines[:len(lines)/3], nil), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := l.audit(t, config, "verify", "-archive", cut, "-head", head); code != 1 || !strings.Contains(out, "cut_off") {
			t.Errorf("the end was cut off: exit code %d\n%s", code, out)
		}
	})
	t.Run("names", func(t *testing.T) {
		// What lies in the broker names no person.
		needles := make(map[string][]byte)
		for _, u := range append(users[:7:7], testkit.User{UPN: "nobody@corp.example.com", SAMAccountName: "nobody", ObjectGUID: "-"}) {
			for _, name := range []string{u.UPN, u.SAMAccountName, u.ObjectGUID} {
				if len(name) > 3 {
					for form, needle := range encodings(name) {
						needles[name+" as "+form] = needle
					}
				}
			}
		}
		for _, hit := range search(t, needles, nil, nil, l.Broker.StoreDir) {
			t.Errorf("a name is in the broker's store: %s", hit)
		}
		if hits := search(t, map[string][]byte{"a replica": []byte(consumerName(1))}, nil, nil, l.Broker.StoreDir); len(hits) == 0 {
			t.Error("the search does not find what is there")
		}
		// And nothing that the program makes holds a password.
		dir := t.TempDir()
		outputs := make(map[string]string)
		for name, args := range map[string][]string{
			"table": {"replay"}, "JSON": {"replay", "-format", "json"}, "timeline": {"replay", "-request", done.ID}, "verify": {"verify", "-json"},
			"head": {"head"}, "reconcile": {"reconcile", "-json"}, "report": {"report", "-out", filepath.Join(dir, "report.html")},
			"ECS": {"export", "-out", filepath.Join(dir, "ecs.json")}, "archive": {"export", "-format", "archive", "-out", filepath.Join(dir, "archive.json")},
		} {
			out, code := l.audit(t, config, args[0], args[1:]...)
			if code != 0 {
				t.Errorf("%s: exit code %d", name, code)
			}
			outputs[name] = out
		}
		for i := range 7 {
			for _, hit := range search(t, encodings(fmt.Sprintf("Genuine-Word-%d", i)), outputs, nil, dir) {
				t.Errorf("a password is in an output: %s", hit)
			}
		}
		for file, want := range map[string]string{"report.html": "The trail is whole", "ecs.json": `"target":{"name":"` + users[0].UPN} {
			if text, err := os.ReadFile(filepath.Join(dir, file)); err != nil || !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s does not hold %q: %v", file, want, err)
			}
		}
		// Without the key of the month everybody is anonymous, and the
		// signatures stay.
		keys, err := os.ReadFile(l.path("publisher", "record.key"))
		if err != nil {
			t.Fatal(err)
		}
		later := filepath.Join(t.TempDir(), "record.key")
		_, rest, _ := bytes.Cut(keys, []byte("\n")) // the first line is this month's
		if err := os.WriteFile(later, rest, 0o600); err != nil {
			t.Fatal(err)
		}
		empty := l.auditor(t, l.brokerNode(queue.Auditor), later)
		whole(t, empty)
		if out, _ := l.audit(t, empty, "replay"); strings.Contains(out, users[0].UPN) || !strings.Contains(out, "(hidden)") {
			t.Errorf("without the month's key, replay prints\n%s", out)
		}
	})
	t.Run("tickets", func(t *testing.T) {
		page := e.page(t, users[7].UPN, url.Values{"password": {"Genuine-Word-8"}, "again": {"Genuine-Word-8"}})
		reference := regexp.MustCompile(`<code>(\S+-[0-9a-f]{32})</code>`).FindStringSubmatch(page)
		if reference == nil {
			t.Fatalf("the page names no request: %s", page)
		}
		out, code := l.audit(t, config, "replay", "-request", reference[1], "-format", "json")
		if code != 0 || strings.Count(out, "\n") != 4 || !strings.Contains(out, `"kind":"ticket_used"`) ||
			strings.Index(out, "ticket_used") > strings.Index(out, `"accepted"`) {
			t.Errorf("replay of the page's reference (exit code %d) does not begin with the use of the ticket:\n%s", code, out)
		}
		out, _ = l.audit(t, config, "replay", "-account="+users[7].UPN)
		if strings.Count(out, "ticket_made") != 1 || strings.Count(out, "ticket_used") != 1 || strings.Count(out, users[7].UPN) != 5 || !strings.Contains(out, "127.0.0.1") {
			t.Errorf("replay of the account has not one ticket, its use and the request:\n%s", out)
		}
		if out, _ = l.audit(t, blind, "replay"); strings.Contains(out, users[7].UPN) {
			t.Errorf("without record.key, replay prints\n%s", out)
		}
	})
	t.Run("backup", func(t *testing.T) {
		l.stopPrograms()
		whole(t, config, "-head", head)
		s := restored(t, l)
		from := node{"url": s.URL(), "ca_file": s.CAFile, "nkey_file": s.NKeyFile(queue.Auditor)}
		copied := l.auditor(t, from, "")
		out := whole(t, copied, "-head", head)
		var report struct{ Uncovered, Covered int }
		text, _ := l.audit(t, copied, "verify", "-json")
		if err := json.Unmarshal([]byte(text), &report); err != nil || report.Uncovered != 3 || report.Covered < 30 {
			t.Errorf("after an orderly stop all but the last checkpoints must be covered:\n%s", out)
		}
	})
}

// restored starts a server of its own on a copy of the broker's store, as it was
// when the broker was killed.
func restored(t *testing.T, l *Lab) *broker.Server {
	t.Helper()
	for _, p := range l.endpoints(t).Processes {
		if p.Name == "nats" {
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := broker.NewFiles(filepath.Join(t.TempDir(), "restored"), filepath.Join(testkit.Root(t), "nats", "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(files.StoreDir, os.DirFS(l.Broker.StoreDir)); err != nil {
		t.Fatal(err)
	}
	s, err := files.Start(context.WithoutCancel(t.Context()), filepath.Join(l.opts.Bin, "nats-server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}
