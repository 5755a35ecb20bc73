package lab

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLooseFiles gives each file that is secret, or decides something, to others to
// read or to write, to another owner, or puts a link in its place: no program uses
// it, and each says which file it is and what is wrong.
func TestLooseFiles(t *testing.T) {
	t.Parallel()
	address := forbidden(t)
	const secret, trusted = 0o640, 0o664
	kinds := []struct {
		program, key, file string
		mode               os.FileMode // that is too much
	}{
		{"publisher", "signing_key_file", "publisher.key", secret},
		{"publisher", "slot_key_file", "slot.key", secret},
		{"publisher", "record_key_file", "record.key", secret},
		{"publisher", "broker.nkey_file", "publisher.nk", secret},
		{"publisher", "broker.key_file", "caller.key", secret},
		{"publisher", "tls.key_file", "caller.key", secret},
		{"publisher", "tls.client_ca_file", "ca.pem", trusted},
		{"publisher", "tokens_file", "tokens.json", trusted},
		{"consumer", "signing_key_file", "consumer.key", secret},
		{"consumer", "broker.nkey_file", "consumer.nk", secret},
		{"consumer", "broker.key_file", "caller.key", secret},
		{"consumer", "broker.proxy_password_file", "ad-password", secret},
		{"consumer", "directory.password_file", "ad-password", secret},
		{"consumer", "policy_file", "policy.yaml", trusted},
		{"provision", "broker.nkey_file", "provisioner.nk", secret},
		{"provision", "system_nkey_file", "system.nk", secret},
	}
	for _, k := range kinds {
		t.Run(k.program+" "+k.key, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := validConfig(t, dir, address); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, k.file)
			config := filepath.Join(dir, k.program+".yaml")
			edit(t, config, func(cfg node) {
				broker := cfg["broker"].(node)
				switch k.key {
				case "broker.key_file":
					broker["cert_file"], broker["key_file"] = "caller.pem", "caller.key"
				case "broker.proxy_password_file":
					broker["proxy"], broker["proxy_password_file"] = "http://ada@"+address, "ad-password"
				case "tls.key_file", "tls.client_ca_file":
					cfg["tls"] = node{"cert_file": "caller.pem", "key_file": "caller.key", "client_ca_file": "ca.pem"}
				}
			})
			says := func() (string, int) {
				args := runs(k.program, config)
				cmd := exec.CommandContext(t.Context(), filepath.Join(binaries(t), args[0]), append(args[1:], "-validate")...)
				var errs bytes.Buffer
				cmd.Stderr = &errs
				cmd.Run()
				return errs.String(), cmd.ProcessState.ExitCode()
			}
			refused := func(what, want string) {
				t.Helper()
				text, code := says()
				if code != 2 || strings.Count(text, "\n") != 1 || !strings.Contains(text, path) || !strings.Contains(text, want) {
					t.Errorf("%s: it ends with %d and says %q, want 2, the file and %q", what, code, text, want)
				}
			}
			if text, code := says(); code != 0 {
				t.Fatalf("as it should be: it ends with %d and says %q", code, text)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, k.mode); err != nil {
				t.Fatal(err)
			}
			refused("mode", "mode 0"+map[os.FileMode]string{secret: "640", trusted: "664"}[k.mode])
			if err := os.Chmod(path, info.Mode()); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() == 0 { // only root can make a file of somebody else
				if err := os.Chown(path, 12345, -1); err != nil {
					t.Fatal(err)
				}
				refused("owner", "belongs to user 12345")
				if err := os.Chown(path, 0, -1); err != nil {
					t.Fatal(err)
				}
			}
			if k.mode == trusted {
				return
			}
			if err := os.Rename(path, path+".moved"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path+".moved", path); err != nil {
				t.Fatal(err)
			}
			refused("link", "link")
		})
	}
}
