package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCredential(t *testing.T) {
	path := write(t, "key_file: ${CREDENTIALS_DIRECTORY}/consumer.key\nbroker: {ca_file: ca.pem}\n")
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/writeback.service")
	var v settings
	if err := Load(path, &v); err != nil {
		t.Fatal(err)
	}
	if want := "/run/credentials/writeback.service/consumer.key"; v.KeyFile != want {
		t.Errorf("key_file is %s, want %s", v.KeyFile, want)
	}
	if want := filepath.Join(filepath.Dir(path), "ca.pem"); v.Broker.CAFile != want {
		t.Errorf("ca_file is %s, want %s", v.Broker.CAFile, want)
	}
}

// Without a service manager the key is named, of sections and lists too; nothing else
// is a variable.
func TestNoCredentials(t *testing.T) {
	for _, set := range []string{"", "run/credentials"} {
		t.Setenv("CREDENTIALS_DIRECTORY", set)
		for _, text := range []string{
			"key_file: ${CREDENTIALS_DIRECTORY}/x", "spare: {ca_file: \"${CREDENTIALS_DIRECTORY}/x\"}", "brokers: [{ca_file: \"${CREDENTIALS_DIRECTORY}/x\"}]",
		} {
			var v settings
			if err := Load(write(t, text), &v); err == nil || !strings.Contains(err.Error(), "_file: CREDENTIALS_DIRECTORY is not set") {
				t.Errorf("%s with %q: %v", text, set, err)
			}
		}
	}
	for _, name := range []string{"${HOME}/x", "$CREDENTIALS_DIRECTORY/x", "a/${CREDENTIALS_DIRECTORY}/x", "${CREDENTIALS_DIRECTORY}"} {
		path := write(t, "key_file: "+name)
		var v settings
		if err := Load(path, &v); err != nil || v.KeyFile != filepath.Join(filepath.Dir(path), name) {
			t.Errorf("%s is %s, %v", name, v.KeyFile, err)
		}
	}
}
