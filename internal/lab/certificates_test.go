package lab

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"

	"writeback/internal/testkit/pki"
)

// TestClientCertificates calls a publisher with certificates instead of tokens.
func TestClientCertificates(t *testing.T) {
	l := startLab(t, "fake")
	ours, theirs := t.TempDir(), t.TempDir()
	authority, err := pki.New(ours)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := pki.New(theirs)
	if err != nil {
		t.Fatal(err)
	}
	certify := func(a *pki.Authority, name string, hosts ...string) *pki.Server {
		c, err := a.Server(name, hosts)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	api := certify(authority, "api", "127.0.0.1")
	known, unknown, fake := certify(authority, "known"), certify(authority, "unknown"), certify(foreign, "known")
	f := l.startFrontDoor(t, "mutual", node{"tls": node{"cert_file": api.CertFile, "key_file": api.KeyFile, "client_ca_file": authority.CAFile}})
	u := l.Directory.Users[0]
	id := func() string {
		l.grant(t, "mesh", "-certificate", known.CertFile, "-operations", "probe,reset")
		list, err := l.call(t.Context(), "publisher", "token", "-file", l.tokensFile(), "-list")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(list, "\n") {
			if strings.HasSuffix(line, "certificate") {
				return strings.Fields(line)[0]
			}
		}
		t.Fatalf("no certificate is listed in\n%s", list)
		return ""
	}

	// probe asks over client, and returns the answer's code, and whether its
	// connection was open before.
	probe := func(client *http.Client, token string) (code string, reused bool, err error) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.APIURL+"/v1/probes", strings.NewReader(`{"account":{"upn":"`+u.UPN+`"}}`))
		if err != nil {
			return "", false, err
		}
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", reused, err
		}
		defer resp.Body.Close()
		var a Answer
		err = json.NewDecoder(resp.Body).Decode(&a)
		_, rest := io.Copy(io.Discard, resp.Body)
		return a.Code, reused, errors.Join(err, rest)
	}
	with := func(certs ...tls.Certificate) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: authority.Pool(), Certificates: certs, ClientSessionCache: tls.NewLRUClientSessionCache(4),
		}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	wantCode := func(client *http.Client, token, want string) {
		t.Helper()
		if code, _, err := probe(client, token); err != nil || code != want {
			t.Errorf("got %q, %v; want %s", code, err, want)
		}
	}
	becomes := func(client *http.Client, want string) (reused bool) {
		t.Helper()
		await(t, "the certificate is "+want, func() error {
			code, was, err := probe(client, "")
			if reused = was; err == nil && code != want {
				err = fmt.Errorf("%s", code)
			}
			return err
		})
		return reused
	}

	holder := with(known.TLS)
	wantCode(holder, "", "unauthenticated")
	first := id()
	becomes(holder, "applied")
	wantCode(with(unknown.TLS), "", "unauthenticated")
	wantCode(with(), "", "unauthenticated")
	wantCode(with(), l.Token, "applied")
	wantCode(with(unknown.TLS), l.Token, "applied")
	if code, _, err := probe(with(fake.TLS), l.Token); err == nil {
		t.Errorf("a certificate of another authority was answered with %s", code)
	}

	// A connection that was opened with it is no way around its removal, nor is
	// a TLS session that is resumed.
	if _, err := l.call(t.Context(), "publisher", "token", "-file", l.tokensFile(), "-remove", first); err != nil {
		t.Fatal(err)
	}
	if !becomes(holder, "unauthenticated") {
		t.Error("it was not on the connection that was open")
	}
	holder.CloseIdleConnections()
	wantCode(holder, "", "unauthenticated")
	id()
	becomes(holder, "applied")

	// From the shell.
	send := func(c *pki.Server) (string, error) {
		return l.call(t.Context(), "publisher", "send", "-api", f.APIURL, "-ca", authority.CAFile, "-probe", "-upn", u.UPN, "-certificate", c.CertFile, "-key", c.KeyFile)
	}
	if out, err := send(known); err != nil || !strings.Contains(out, "code     applied") {
		t.Errorf("send: %v %s", err, out)
	}
	if out, err := send(unknown); err == nil || !strings.Contains(err.Error(), "not applied: unauthenticated") {
		t.Errorf("send with another one: %v %s", err, out)
	}
}
