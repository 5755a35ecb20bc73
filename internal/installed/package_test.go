package installed

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"writeback/internal/seal"
	"writeback/internal/testkit"
	"writeback/internal/testkit/keys"
	"writeback/internal/testkit/pki"
)

// unit is the consumer's, publisher that of the archive's example.
const (
	unit      = "writeback-consumer.service"
	publisher = "writeback-publisher.service"
)

// build makes the package in dir, and another of a later version.
func build(t *testing.T, dir string) (first, later string) {
	t.Helper()
	root := testkit.Root(t)
	do := func(in, name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = in
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, args[0], err, out)
		}
	}
	do(filepath.Join(root, "tools"), "go", "run", "./release", "-root", root, "-out", filepath.Join(dir, "dist"), "-version", "v0.0.1", "-platforms", "linux/"+runtime.GOARCH)
	first = "dist/writeback-consumer_0.0.1_" + runtime.GOARCH + ".deb"
	later, unpacked := "later.deb", t.TempDir()
	do(dir, "dpkg-deb", "--raw-extract", first, unpacked)
	do(unpacked, "sed", "-i", "s/^Version: .*/Version: 0.0.2/", "DEBIAN/control")
	do(dir, "dpkg-deb", "--root-owner-group", "-Znone", "--build", unpacked, later)
	return "/mnt/" + first, "/mnt/" + later
}

// TestPackage installs the package as docs/operations.md says, configures and runs the
// service, upgrades and removes it.
func TestPackage(t *testing.T) {
	m := start(t)
	first, later := build(t, m.mnt)
	p := manual(t)

	m.shell("cd /mnt/dist; " + p.next("sha256sum "))
	m.shell("cd /mnt/dist; " + p.next("dpkg --install "))
	wantFiles(t, m)
	if state := m.property("ActiveState") + " " + m.property("UnitFileState"); state != "inactive disabled" {
		t.Errorf("a service that nobody has configured is %s", state)
	}
	if says := m.shell(p.next("writeback-consumer -version")); !strings.HasPrefix(says, "consumer v0.0.1 (commit ") {
		t.Errorf("-version says %q", says)
	}
	m.run("systemd-analyze", "verify", unit)
	wantConfined(t, m, unit)

	wantRefused(t, m, p)
	configure(t, m)
	wantRunning(t, m, p)
	p.end()
	wantWatched(t, m)
	wantUpgraded(t, m, later)
	wantUpgraded(t, m, first) // back again
	wantRemoved(t, m)
	wantPublisher(t, m)
}

// wantFiles looks at what is installed, with owner and mode.
func wantFiles(t *testing.T, m *machine) {
	t.Helper()
	got := m.shell(`dpkg --listfiles writeback-consumer | grep -e writeback | xargs stat --format '%A %U:%G %n'`)
	want := `drwxr-xr-x root:root /etc/writeback
-rw-r--r-- root:root /etc/writeback/consumer.yaml
-rw-r--r-- root:root /etc/writeback/policy.yaml
-rwxr-xr-x root:root /usr/bin/writeback-consumer
-rw-r--r-- root:root /usr/lib/systemd/system/writeback-consumer.service
drwxr-xr-x root:root /usr/share/doc/writeback-consumer
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/CHANGELOG.md
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/codes.md
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/configuration.md
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/copyright
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/faults.md
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/keys.md
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/operations.md
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/runbook.md
-rw-r--r-- root:root /usr/share/doc/writeback-consumer/sbom.cdx.json`
	if got != want {
		t.Errorf("installed is\n%s\nwant\n%s", got, want)
	}
	conffiles := m.run("dpkg-query", "--showformat", "${Conffiles}", "--show", "writeback-consumer")
	if strings.Count(conffiles, "/etc/writeback/") != 2 {
		t.Errorf("what dpkg keeps of the administrator's is %q", conffiles)
	}
}

// maxExposure is what systemd-analyze may say of the unit, from 0 to 10. What is
// left is that it uses the network, to addresses that only the administrator knows.
const maxExposure = 1.2

func wantConfined(t *testing.T, m *machine, unit string) {
	t.Helper()
	report := m.run("systemd-analyze", "security", "--no-pager", unit)
	found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindStringSubmatch(report)
	if found == nil {
		t.Fatalf("systemd-analyze says %s", report)
	}
	if exposure, err := strconv.ParseFloat(found[1], 64); err != nil || exposure > maxExposure {
		t.Errorf("the exposure is %v, %v, more than %v:\n%s", exposure, err, maxExposure, report)
	}
}

// wantRefused starts a service that lacks its secrets, and then one with the
// examples of the configuration: it ends, says why, and is not tried again.
func wantRefused(t *testing.T, m *machine, p *page) {
	t.Helper()
	refused := func(state, why string) {
		t.Helper()
		if out, err := m.try("systemctl", "start", unit); err == nil {
			t.Errorf("it starts: %s", out)
		}
		if got := m.property("ActiveState") + " " + m.property("ExecMainStatus") + " " + m.property("NRestarts"); got != state {
			t.Errorf("it is %s, want %s", got, state)
		}
		m.run("journalctl", "--sync")
		if status, _ := m.try("systemctl", "status", "--no-pager", "--full", unit); !strings.Contains(status, why) {
			t.Errorf("its status does not say %q:\n%s", why, status)
		}
	}
	m.run("systemctl", "enable", unit) // else systemd forgets at once why it did not start
	refused("inactive 0 0", "AssertPathExists=/etc/writeback/")
	m.shell(p.next("writeback-consumer init "))
	refused("inactive 0 0", "AssertPathExists=/etc/writeback/ad-password was not met")
	m.shell("echo Secret-of-AD-1 | " + p.next("(umask 077; cat > "))
	refused("failed 2 0", `consumer.yaml: tenant: "<name>"`)
}

// configure fills the examples in. Neither the broker nor the directory is there.
func configure(t *testing.T, m *machine) {
	t.Helper()
	ca, err := pki.New(m.mnt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Server("api", []string{"localhost"}); err != nil {
		t.Fatal(err)
	}
	key := keys.Signer(t, seal.PurposePublisher, 1).Public()
	m.shell(fmt.Sprintf(`cd /etc/writeback
sed -i -e 's/^tenant: "<name>"/tenant: corp/' -e 's/^replica: "<name>"/replica: consumer1/' -e 's/<wbpub1[^>]*>/%s/' -e 's/<nats[^>]*>/127.0.0.1/' \
	-e 's/"<CN=\(.*\)>"/"CN=\1"/' -e 's/<dc1[^>]*>/dc1.corp.example.com/' consumer.yaml
sed -i 's/<OU=\(.*\)>/OU=\1/' policy.yaml
install -m 644 /mnt/ca.pem broker-ca.pem
install -m 644 /mnt/ca.pem ad-ca.pem`, key))
}

// wantRunning looks at the configuration, starts the service and looks at its process.
func wantRunning(t *testing.T, m *machine, p *page) {
	t.Helper()
	m.shell(p.next("CREDENTIALS_DIRECTORY=/etc/writeback writeback-consumer run -validate "))
	if out, err := m.try("sh", "-c", p.next("CREDENTIALS_DIRECTORY=/etc/writeback writeback-consumer check ")); err == nil || !strings.Contains(out, "FAIL  broker tls://127.0.0.1:443") {
		t.Errorf("it checks that\n%s", out)
	}
	if out, err := m.try("sh", "-c", p.next("systemctl enable --now ")); err != nil {
		t.Fatalf("%s\n%s", out, m.journal(unit))
	}
	status := m.await(unit, "StatusText", func(s string) bool { return s != "" })
	if !strings.HasPrefix(status, "Working, but broker: the broker cannot be reached") {
		t.Errorf("it says of itself %q", status)
	}
	m.shell(p.next("systemctl status "))
	pid := m.property("MainPID")
	process := m.run("cat", "/proc/"+pid+"/status", "/proc/"+pid+"/limits")
	for _, want := range []string{
		`NoNewPrivs:\s+1`, `Seccomp:\s+2`, `CapEff:\s+0{16}`, `CapBnd:\s+0{16}`, `Max core file size\s+0\s+0`, `Uid:\s+[1-9]\d*\s`,
	} {
		if !regexp.MustCompile(want).MatchString(process) {
			t.Errorf("of its process there is no %s in\n%s", want, process)
		}
	}
	// It was handed the secrets, which are root's.
	if got := m.shell(`stat --format '%A %U' /etc/writeback/consumer.key`); got != "-rw------- root" {
		t.Errorf("the secret is %q", got)
	}
}

// wantWatched stops the process, which its watchdog notices.
func wantWatched(t *testing.T, m *machine) {
	t.Helper()
	m.shell("mkdir -p /run/systemd/system/" + unit + ".d; printf '[Service]\\nWatchdogSec=10s\\nRestartSec=100ms\\n' > /run/systemd/system/" + unit + ".d/test.conf")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", unit)
	key := m.sealingKey()
	m.shell("kill -STOP " + m.property("MainPID"))
	m.await(unit, "NRestarts", func(s string) bool { return s != "0" })
	m.await(unit, "ActiveState", func(s string) bool { return s == "active" })
	if log := m.journal(unit); !strings.Contains(log, "Watchdog timeout") || strings.Contains(log, "goroutine ") {
		t.Errorf("the journal of its end is\n%s", log)
	}
	if again := m.sealingKey(); again != key {
		t.Errorf("the sealing key was %s and is %s", key, again)
	}
	m.shell("rm -r /run/systemd/system/" + unit + ".d; systemctl daemon-reload")
}

// sealingKey returns what is in the directory of sealing keys.
func (m *machine) sealingKey() string {
	m.t.Helper()
	m.await(unit, "StatusText", func(s string) bool { return strings.HasPrefix(s, "Working") })
	return m.shell("cd /run/writeback; sha256sum box-*")
}

// wantUpgraded installs another version: the service goes over to it, in order and
// with its sealing key, and the configuration stays.
func wantUpgraded(t *testing.T, m *machine, to string) {
	t.Helper()
	key, pid := m.sealingKey(), m.property("MainPID")
	if out := m.run("dpkg", "--install", to); strings.Contains(out, "not restarted") {
		t.Error(out)
	}
	if state, now := m.property("ActiveState"), m.property("MainPID"); state != "active" || now == pid {
		t.Errorf("it is %s as process %s, which was %s", state, now, pid)
	}
	if again := m.sealingKey(); again != key {
		t.Errorf("the sealing key was %s and is %s", key, again)
	}
	if log := m.journal(unit, "_PID="+pid); !strings.Contains(log, `"message":"consumer stopped"`) {
		t.Errorf("it did not stop in order:\n%s", log)
	}
}

// wantRemoved removes the package, which leaves what the administrator made, and
// purges it, which leaves the keys and says so.
func wantRemoved(t *testing.T, m *machine) {
	t.Helper()
	m.run("dpkg", "--remove", "writeback-consumer")
	if state, _ := m.try("systemctl", "is-active", unit); state != "inactive" {
		t.Errorf("the service is %s", state)
	}
	all := "ad-ca.pem\nad-password\nbroker-ca.pem\nconsumer.key\nconsumer.nk\nconsumer.yaml\npolicy.yaml"
	if got := m.run("ls", "/etc/writeback"); got != all {
		t.Errorf("removing leaves\n%s", got)
	}
	out := m.run("dpkg", "--purge", "writeback-consumer")
	if !strings.Contains(out, "Left in /etc/writeback are files that this package did not make, perhaps keys and a password.") {
		t.Errorf("purging says\n%s", out)
	}
	if got := m.run("ls", "/etc/writeback"); got != strings.Replace(all, "\nconsumer.yaml\npolicy.yaml", "", 1) {
		t.Errorf("purging leaves\n%s", got)
	}
	// systemd leaves a link to where the sealing keys were.
	if got := m.shell("ls -d /run/writeback/. /usr/bin/writeback-consumer /etc/systemd/system/*.wants/" + unit + " 2>/dev/null || true"); got != "" {
		t.Errorf("what is left is\n%s", got)
	}
}

// wantPublisher runs a publisher as the archive has it.
func wantPublisher(t *testing.T, m *machine) {
	t.Helper()
	consumer := keys.Signer(t, seal.PurposeConsumer, 2).Public()
	m.shell(fmt.Sprintf(`cd /root
tar -xzf /mnt/dist/writeback_*.tar.gz --strip-components=1
install bin/publisher /usr/bin/writeback-publisher
install -m 644 systemd/writeback-publisher.service /etc/systemd/system
cd /etc/writeback
sed -e 's/<nats[^>]*>/127.0.0.1/' -e 's/name: "<name>"/name: corp/' -e 's/<wbpub1[^>]*>/%s/' /root/examples/publisher.yaml > publisher.yaml
install -m 644 /mnt/api.pem .
install -m 600 /mnt/api.key .
writeback-publisher init -dir .
writeback-publisher token -file tokens.json -tenant corp -source portal -actors self
systemd-analyze verify writeback-publisher.service
systemctl daemon-reload
systemctl start writeback-publisher`, consumer))
	wantConfined(t, m, publisher)
	status := m.await(publisher, "StatusText", func(s string) bool { return s != "" })
	if !strings.HasPrefix(status, "Working, but broker: the broker cannot be reached") {
		t.Errorf("the publisher says of itself %q", status)
	}
	m.run("systemctl", "stop", publisher)
	if result := m.run("systemctl", "show", "--property=Result", "--value", publisher); result != "success" {
		t.Errorf("the publisher stopped with %s", result)
	}
}
