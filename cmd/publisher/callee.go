package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"writeback/internal/cli"
	"writeback/internal/config"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

// A callee is the API that a command calls, and what it shows for itself there.
type callee struct {
	api, ca, tokenFile, certificate, keyFile string

	trusted *tls.Config
	token   secret.Value
}

func (c *callee) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.api, "api", "http://127.0.0.1:8080", "`URL` of the API")
	fs.StringVar(&c.ca, "ca", "", "`file` with the API's certificate authority (PEM); the system's if left out")
	fs.StringVar(&c.tokenFile, "token-file", "", "`file` that holds a token, as `publisher token` printed it")
	fs.StringVar(&c.certificate, "certificate", "", "`file` of a client certificate (PEM) that is shown instead of a token; with -key")
	fs.StringVar(&c.keyFile, "key", "", "`file` of the certificate's key (PEM)")
}

// load reads the files that the flags name. The token is the caller's to wipe.
func (c *callee) load() (err error) {
	if (c.tokenFile == "") == (c.certificate == "") {
		return cli.Usagef("-token-file: is missing, or name -certificate and -key instead")
	}
	if c.trusted, err = trust(c.ca); err != nil {
		return cli.Usagef("-ca: %w", err)
	}
	if c.tokenFile != "" {
		if c.token, err = seal.ReadLine(c.tokenFile); err != nil {
			return cli.Usagef("-token-file: %w", err)
		}
		return nil
	}
	pair, err := keyPair(c.certificate, c.keyFile)
	if err != nil {
		return cli.Usagef("-certificate and -key: %w", err)
	}
	c.trusted.Certificates = []tls.Certificate{pair}
	return nil
}

// post sends JSON to a route of the API, which may take wait for its answer.
func (c *callee) post(ctx context.Context, route string, body []byte, headers map[string]string, wait time.Duration) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.api+route, bytes.NewReader(body))
	if err != nil {
		return nil, cli.Usagef("-api: is not a URL")
	}
	if host := req.URL.Hostname(); req.URL.Scheme != "https" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, cli.Usagef("-api: %s is not on this machine; passwords and tokens go there over https only", host)
	}
	req.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	if !c.token.Empty() {
		c.token.Reveal(func(b []byte) error {
			req.Header.Set("Authorization", "Bearer "+string(b))
			return nil
		})
	}
	resp, err := httpClient(c.trusted, wait).Do(req)
	if err != nil {
		return nil, fmt.Errorf("calling the API: %w", err)
	}
	return resp, nil
}

// read decodes the API's answer, which is JSON whether it is good or not.
func read(resp *http.Response, v any) error {
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(v); err != nil {
		return fmt.Errorf("the API answered %s and no JSON", resp.Status)
	}
	return nil
}

// accountFlags adds the flags that name an account. The function returns it, once
// the flags were parsed.
func accountFlags(fs *flag.FlagSet) func() (map[string]string, error) {
	values := make(map[string]*string)
	for _, kind := range reset.NameKinds() {
		name := strings.ReplaceAll(kind.String(), "_", "-")
		values[kind.String()] = fs.String(name, "", "the account's `"+name+"`")
	}
	return func() (map[string]string, error) {
		account := make(map[string]string)
		for kind, value := range values {
			if *value != "" {
				account[kind] = *value
			}
		}
		if len(account) != 1 {
			return nil, cli.Usagef("name exactly one account, with -upn, -immutable-id, -object-guid, -sam-account-name or -sid")
		}
		return account, nil
	}
}

// trust returns how the API is verified: by the authority in caFile, or by those
// of the system if it is empty.
func trust(caFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	var err error
	if cfg.RootCAs, err = config.Authorities(caFile); err != nil {
		return nil, err
	}
	return cfg, nil
}

func httpClient(cfg *tls.Config, wait time.Duration) *http.Client {
	// A redirect would take token and password to another host.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, CheckRedirect: stay, Timeout: wait + 30*time.Second}
}
