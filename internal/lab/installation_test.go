package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"writeback/internal/testkit"
	"writeback/internal/testkit/fakead"
	"writeback/internal/testkit/pki"
)

// An installation is what a reader of the pages makes: a folder for each machine.
type installation struct {
	t       *testing.T
	dir     string
	printed map[string]string // what `init` and others said, by what stands before the colon
	words   []string          // of the pages, and what stands here in their place
	typed   map[string]string // on standard input of the commands that begin so
	stop    []func()
}

// machineOf says on which machine a file of the pages is.
func machineOf(file string) string {
	return map[string]string{
		"nats.env": "broker", "provision.yaml": "provisioner", "consumer.yaml": "consumer", "policy.yaml": "consumer",
		"publisher.yaml": "publisher", "audit.yaml": "auditor", "operator.yaml": "operator",
	}[file]
}

// carried are the files that the pages tell to copy, and where from and to.
func carried() []struct{ file, from, to string } {
	return []struct{ file, from, to string }{
		{"ca.pem", "broker", "publisher"}, {"ca.pem", "broker", "consumer"}, {"ca.pem", "broker", "provisioner"},
		{"ca.pem", "broker", "auditor"}, {"ca.pem", "broker", "operator"},
		{"record.key", "publisher", "auditor"},
		{"token", "publisher", "caller"}, {"switches.token", "publisher", "caller"}, {"ticket.token", "publisher", "caller"},
	}
}

func (i *installation) path(elem ...string) string {
	return filepath.Join(append([]string{i.dir}, elem...)...)
}

// ours puts what is here in the place of what a page has.
func (i *installation) ours(text string) string {
	words := slices.Clone(i.words)
	for name, value := range i.printed {
		switch {
		case strings.HasSuffix(name, " public key"):
			words = append(words, "wbpub1."+strings.TrimSuffix(name, " public key")+".…", value)
		case strings.HasSuffix(name, " broker user"):
			variable := "WRITEBACK_" + strings.ToUpper(strings.TrimSuffix(name, " broker user")) + "_NKEY="
			words = append(words, variable+"U…", variable+value)
		case name == "request":
			words = append(words, "c5a45a3955-33cdb6dee2c4eb5f12d3e4aa035f0bcd", value)
		}
	}
	return strings.NewReplacer(words...).Replace(text)
}

// do writes a file, or types a command and waits for its end or, of one that goes on,
// until it works.
func (i *installation) do(c typed) {
	i.t.Helper()
	for _, f := range carried() {
		if text, err := os.ReadFile(i.path(f.from, f.file)); err == nil {
			if err := os.WriteFile(i.path(f.to, f.file), text, 0o600); err != nil {
				i.t.Fatal(err)
			}
		}
	}
	if c.file != "" {
		path := i.path(machineOf(c.file), c.file)
		if _, err := os.Stat(path); err == nil {
			return // a piece of a file that is there as a whole
		}
		if err := os.WriteFile(path, []byte(i.ours(c.text)), 0o600); err != nil {
			i.t.Fatal(err)
		}
		return
	}
	if lasting(c.command) {
		i.start(c)
		return
	}
	if c.machine == "caller" { // a running publisher knows a new token within a second
		await(i.t, c.String(), func() error { return i.run(c) })
	} else if err := i.run(c); err != nil {
		i.t.Fatalf("%s: %v", c, err)
	}
}

// lasting reports whether a command goes on until it is stopped.
func lasting(command string) bool {
	return strings.Contains(command, "nats-server -c") || strings.HasSuffix(command, "consumer run") ||
		strings.HasSuffix(command, "publisher serve") || strings.Contains(command, "-follow")
}

func (i *installation) shell(c typed) *exec.Cmd {
	cmd := exec.CommandContext(i.t.Context(), "sh", "-euc", i.ours(c.command))
	cmd.Dir, cmd.Env = i.path(c.machine), append(os.Environ(), "PATH="+binaries(i.t)+":"+os.Getenv("PATH"))
	for prefix, text := range i.typed {
		if strings.HasPrefix(c.command, prefix) {
			cmd.Stdin = strings.NewReader(text)
		}
	}
	return cmd
}

func (i *installation) run(c typed) error {
	cmd := i.shell(c)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s%s", err, out.String(), errs.String())
	}
	for _, m := range regexp.MustCompile(`(?m)^([a-z ]+)(?:: |  +)(\S+)$`).FindAllStringSubmatch(out.String(), -1) {
		i.printed[m[1]] = m[2]
	}
	return nil
}

// start starts a command that goes on, and waits until it has written something.
func (i *installation) start(c typed) {
	i.t.Helper()
	log, err := os.CreateTemp(i.dir, "log")
	if err != nil {
		i.t.Fatal(err)
	}
	defer log.Close()
	own := c
	if !strings.Contains(c.command, "exec ") {
		own.command = "exec " + c.command // so that the signal that stops it is its own
	}
	cmd := i.shell(own)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The death signal is about the thread that started the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if started <- err; err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		i.t.Fatal(err)
	}
	i.stop = append(i.stop, func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		if err := <-ended; err != nil && !strings.Contains(c.command, "nats-server") { // which ends with 1
			text, _ := os.ReadFile(log.Name())
			i.t.Errorf("%s: when it was stopped: %v\n%s", c, err, text)
		}
	})
	watched := log.Name()
	if m := regexp.MustCompile(`-out (\S+)`).FindStringSubmatch(i.ours(c.command)); m != nil {
		watched = m[1]
	}
	await(i.t, c.String(), func() error {
		info, err := os.Stat(watched)
		if err == nil && info.Size() == 0 {
			err = errors.New("it has written nothing")
		}
		if len(ended) > 0 {
			text, _ := os.ReadFile(log.Name())
			i.t.Fatalf("%s: it ended: %s", c, text)
		}
		return err
	})
	if strings.HasSuffix(c.command, "publisher serve") {
		if err := AwaitReady(i.t.Context(), i.path("publisher", "publisher.yaml")); err != nil {
			i.t.Fatal(err)
		}
	}
}

// TestInstallation types what docs/operations.md, docs/callers.md and docs/audit.md
// tell to type, in their order, each command on the machine before its prompt, and gets a system that
// resets passwords.
func TestInstallation(t *testing.T) {
	t.Parallel()
	if err := errors.Join(testkit.Install(t.Context(), "openssl", "openssl"), testkit.Install(t.Context(), "curl", "curl")); err != nil {
		t.Fatal(err)
	}
	i, ad := newInstallation(t)
	defer func() {
		for _, stop := range slices.Backward(i.stop) {
			stop()
		}
	}()
	all := pages(t)
	for _, page := range walked() {
		for _, c := range manual(page, all[page]) {
			if _, excused := why(c.command); !excused || c.file != "" {
				i.do(c)
			}
		}
	}
	if user := ad.Directory().Users[0]; !ad.Check(user.SAMAccountName, firstReset) {
		t.Error("the first reset has not set the password")
	}
	for name, command := range map[string]string{
		"publisher": "publisher serve -validate", "consumer": "consumer run -validate", "provisioner": "publisher streams -validate",
		"auditor": "audit verify -validate", "operator": "publisher tenant list",
	} {
		if err := i.run(typed{machine: name, command: command}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// firstReset is the password that the reader types.
const firstReset = "Granite-Ladder-42"

// newInstallation makes what a reader has before: a directory with two domain
// controllers and the groups of the policy file, and certificates.
func newInstallation(t *testing.T) (*installation, *fakead.Server) {
	t.Helper()
	i := &installation{t: t, dir: t.TempDir(), printed: make(map[string]string)}
	for _, machine := range []string{"broker", "publisher", "consumer", "provisioner", "auditor", "operator", "caller", "ad", "pki"} {
		if err := os.Mkdir(i.path(machine), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ad, err := fakead.Start(fakead.Options{Dir: i.path("ad")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ad.Close() })
	second, err := ad.AddDC(fakead.DCOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.Close() })
	d, user := ad.Directory(), ad.Directory().Users[0]
	_, err = ad.NewGroup("Cloud Users", "", user.SAMAccountName)
	if _, err2 := ad.NewGroup("Tier 0", ""); errors.Join(err, err2) != nil {
		t.Fatal(err, err2)
	}
	ca, err := pki.New(i.path("pki"))
	if err != nil {
		t.Fatal(err)
	}
	api, err := ca.Server("api", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.MkdirTemp("/dev/shm", fmt.Sprintf("%s%d-", runtimePrefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	for to, from := range map[string]string{
		"consumer/ad-ca.pem": d.CAFile, "publisher/api.pem": api.CertFile, "publisher/api.key": api.KeyFile,
		"publisher/portal.pem": api.CertFile, "caller/api-ca.pem": ca.CAFile, "auditor/siem-ca.pem": ca.CAFile,
	} {
		if err := copyFile(i.path(to), from); err != nil {
			t.Fatal(err)
		}
	}
	ports, err := testkit.FreePorts(4)
	if err != nil {
		t.Fatal(err)
	}
	at := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", ports[n]) }
	i.words = []string{
		"DNS:nats.example.com", "IP:127.0.0.1",
		"nats.example.com:443", at(0),
		"WRITEBACK_NATS_HOST=0.0.0.0", "WRITEBACK_NATS_HOST=127.0.0.1",
		"WRITEBACK_NATS_PORT=443", fmt.Sprintf("WRITEBACK_NATS_PORT=%d", ports[0]),
		"/var/lib/writeback-store", i.path("broker", "store"),
		"-c nats/nats-server.conf", "-c " + filepath.Join(testkit.Root(t), "nats", "nats-server.conf"),
		"/run/writeback", memory,
		"ldaps://dc1.corp.example.com, ldaps://dc2.corp.example.com", d.URL + ", " + second.Directory().URL,
		"CN=svc-writeback,OU=Service,DC=corp,DC=example,DC=com", d.ServiceDN,
		"OU=Groups,DC=corp", "CN=Users,DC=corp",
		"0.0.0.0:8443", at(1),
		"reset.example.com:8443", at(1),
		"127.0.0.1:9090", at(2),
		"127.0.0.1:9091", at(3),
		"6f9619ff-8b86-d011-b42d-00c04fc964ff", user.ObjectGUID,
		"ada@corp.example.com", user.UPN,
		"/var/lib/writeback/", i.path("auditor") + "/",
	}
	i.typed = map[string]string{
		"install -m 600 /dev/stdin ad-password": d.ServicePassword + "\n",
		"publisher send":                        firstReset + "\n",
	}
	return i, ad
}

// copyFile copies a file, with mode 0600.
func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o600)
}
