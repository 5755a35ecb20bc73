package lab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"writeback/internal/testkit"
)

// Words in a password at which programs with [panics] panic.
const (
	breaksConsumer  = "br3ak-c"
	breaksPublisher = "br3ak-p"
	plants          = "pl4nt" // the consumer, which prints the password on purpose
)

// A change replaces a text that a file of ours has once.
type change struct{ path, old, new string }

// panics are changes that put a panic where passwords are in hand. It prints them
// in every way, as a careless line of a program would.
func panics() []change {
	const setting, sealing = "\t\tvalue := unicodePwd(plain)\n", "\tplain := body.Encode()\n"
	return []change{
		{"internal/directory/modify.go", "import (\n", "import (\n\t\"bytes\"\n"},
		{"internal/directory/modify.go", setting, setting + `
		if bytes.Contains(plain, []byte("` + breaksConsumer + `")) {
			panic(fmt.Sprintf("broken on purpose with %v %+v %#v %s %q %x %d", password, password, password, password, password, password, password))
		}
		if bytes.Contains(plain, []byte("` + plants + `")) {
			panic("planted " + string(plain))
		}
`},
		{"internal/publisher/submit.go", "import (\n", "import (\n\t\"bytes\"\n"},
		{"internal/publisher/submit.go", sealing, sealing + `
	plain.Reveal(func(b []byte) error {
		if bytes.Contains(b, []byte("` + breaksPublisher + `")) {
			panic(fmt.Sprintf("broken on purpose with %v %+v %q %x %d", secrets, secrets, body.Password, plain, plain))
		}
		return nil
	})
`},
	}
}

// build returns a directory with nats-server, and publisher and consumer as they
// are but for changes. The files stay as they are: the Go tool reads others in their
// place (-overlay).
func build(t *testing.T, changes []change) string {
	t.Helper()
	root, dir := testkit.Root(t), t.TempDir()
	texts := make(map[string]string)
	for _, c := range changes {
		path := filepath.Join(root, c.path)
		if texts[path] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[path] = string(text)
		}
		if n := strings.Count(texts[path], c.old); n != 1 {
			t.Fatalf("%s has %q %d times, want once", c.path, c.old, n)
		}
		texts[path] = strings.Replace(texts[path], c.old, c.new, 1)
	}
	replace := make(map[string]string)
	for path, text := range texts {
		replace[path] = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay, bin := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "bin")
	if err := os.WriteFile(overlay, list, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", bin+"/", "./cmd/publisher", "./cmd/consumer")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.Symlink(filepath.Join(binaries(t), "nats-server"), filepath.Join(bin, "nats-server")); err != nil {
		t.Fatal(err)
	}
	return bin
}
