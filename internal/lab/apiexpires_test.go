package lab

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"testing"

	"writeback/internal/testkit/pki"
)

// TestAPIExpires has the certificate of the API end, and replaces it.
func TestAPIExpires(t *testing.T) {
	t.Parallel()
	row := sheets(t)["certificate of the API expired"]
	l := startLab(t, "fake")
	authority, err := pki.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	certify := func(opts ...pki.Option) *pki.Server {
		c, err := authority.Server("api", []string{"127.0.0.1"}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	good := certify()
	f := l.startFrontDoor(t, "expiring", node{"tls": node{"cert_file": good.CertFile, "key_file": good.KeyFile}})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}}
	call := func() map[string]bool {
		resp, err := client.Get(f.APIURL + "/v1/nothing")
		if err != nil {
			return map[string]bool{"API says: " + err.Error(): true}
		}
		resp.Body.Close()
		return nil
	}
	tr := &trial{T: t, Lab: l, e: l.endpoints(t), sheet: row, url: map[string]string{"publisher": f.operations}, from: make(map[string]int)}
	logs := func() map[string]bool {
		all := make(map[string]bool)
		for line := range bytes.Lines(l.logOf(t, "expiring")) {
			text, complaint := readable(line)
			all["publisher "+text] = complaint
		}
		return all
	}
	if said := call(); len(said) > 0 {
		t.Fatalf("before: %v", said)
	}
	certify(expired) // in the place of the good one
	tr.awaitAll("what callers see", row.told.certain, call)
	tr.awaitAll("health", row.health.certain, tr.unwell)
	tr.nothingElse("health", row.health, tr.unwell())
	certify()
	await(t, "callers being served", func() error {
		if said := call(); len(said) > 0 {
			return fmt.Errorf("%v", said)
		}
		return nil
	})
	tr.awaitAll("the log of the return", row.back.certain, logs)
	complaints := logs()
	maps.DeleteFunc(complaints, func(_ string, complaint bool) bool { return !complaint })
	tr.nothingElse("logged", row.logged, complaints)
	if left := tr.unwell(); len(left) > 0 {
		t.Errorf("afterwards: %v", left)
	}
}
