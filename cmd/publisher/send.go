package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"writeback/internal/cli"
	"writeback/internal/reset"
	"writeback/internal/seal"
	"writeback/internal/secret"
)

// An answer is what `send` reads of the API's object or problem document.
type answer struct {
	ID      string             `json:"id"`
	State   string             `json:"state"`
	Code    string             `json:"code"`
	Message string             `json:"message"`
	Detail  string             `json:"detail"`
	Field   string             `json:"field"`
	Details map[string]any     `json:"details"`
	Timings map[string]float64 `json:"timings_ms"`
}

func send(ctx context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("publisher send", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	api := fs.String("api", "http://127.0.0.1:8080", "`URL` of the API")
	ca := fs.String("ca", "", "`file` with the API's certificate authority (PEM); the system's if left out")
	tokenFile := fs.String("token-file", "", "`file` that holds a token, as `publisher token` printed it")
	certificate := fs.String("certificate", "", "`file` of a client certificate (PEM) that is shown instead of a token; with -key")
	keyFile := fs.String("key", "", "`file` of the certificate's key (PEM)")
	actor := fs.String("actor", "admin", "admin, or self for a user that you have verified")
	subject := fs.String("subject", "", "who asks, for the audit")
	key := fs.String("idempotency-key", "", "`key` that makes a repeat return the first outcome")
	wait := fs.Duration("wait", 15*time.Second, "how long to wait for the outcome, at most 60s")
	probe := fs.Bool("probe", false, "say what a reset would meet, and change nothing; reads no password")
	unlock := fs.Bool("unlock", false, "unlock the account and leave its password; reads no password")
	mustChange := fs.Bool("must-change", false, "have the user choose another password at the next sign-in; with -actor admin")
	accounts := make(map[string]*string)
	for _, kind := range reset.NameKinds() {
		name := strings.ReplaceAll(kind.String(), "_", "-")
		accounts[kind.String()] = fs.String(name, "", "the account's `"+name+"`")
	}
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	account := make(map[string]string)
	for kind, value := range accounts {
		if *value != "" {
			account[kind] = *value
		}
	}
	if len(account) != 1 {
		return cli.Usagef("name exactly one account, with -upn, -immutable-id, -object-guid, -sam-account-name or -sid")
	}
	route, err := routeOf(*probe, *unlock, *mustChange, *actor)
	if err != nil {
		return err
	}
	if (*tokenFile == "") == (*certificate == "") {
		return cli.Usagef("-token-file: is missing, or name -certificate and -key instead")
	}
	trusted, err := trust(*ca)
	if err != nil {
		return cli.Usagef("-ca: %w", err)
	}
	var token secret.Value
	if *tokenFile != "" {
		if token, err = seal.ReadLine(*tokenFile); err != nil {
			return cli.Usagef("-token-file: %w", err)
		}
		defer token.Wipe()
	} else {
		pair, err := keyPair(*certificate, *keyFile)
		if err != nil {
			return cli.Usagef("-certificate and -key: %w", err)
		}
		trusted.Certificates = []tls.Certificate{pair}
	}
	var password secret.Value
	if route == resets {
		if password, err = readPassword(std.In); err != nil {
			return cli.Usagef("standard input: %w", err)
		}
	}
	defer password.Wipe()
	fields := map[string]any{"account": account, "actor": map[string]string{"kind": *actor, "subject": *subject}}
	if *mustChange {
		fields["options"] = map[string]bool{"must_change": true}
	}
	body, err := requestBody(fields, password)
	if err != nil {
		return err
	}
	defer clear(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, *api+route, bytes.NewReader(body))
	if err != nil {
		return cli.Usagef("-api: is not a URL")
	}
	if host := req.URL.Hostname(); req.URL.Scheme != "https" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return cli.Usagef("-api: %s is not on this machine; passwords and tokens go there over https only", host)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", fmt.Sprintf("wait=%d", int(wait.Seconds())))
	if *key != "" {
		req.Header.Set("Idempotency-Key", *key)
	}
	if !token.Empty() {
		token.Reveal(func(b []byte) error {
			req.Header.Set("Authorization", "Bearer "+string(b))
			return nil
		})
	}
	resp, err := httpClient(trusted, *wait).Do(req)
	if err != nil {
		return fmt.Errorf("calling the API: %w", err)
	}
	defer resp.Body.Close()
	return show(resp, std.Out)
}

// resets is the route that a password is sent to.
const resets = "/v1/resets"

// routeOf returns where to send what the flags ask for, which must be one thing.
func routeOf(probe, unlock, mustChange bool, actor string) (string, error) {
	switch {
	case probe && unlock:
		return "", cli.Usagef("-probe and -unlock: only one of them at a time")
	case mustChange && (probe || unlock):
		return "", cli.Usagef("-must-change: belongs to a reset, neither to -probe nor to -unlock")
	case mustChange && actor == reset.Self.String():
		return "", cli.Usagef("-must-change: is for -actor admin only")
	case probe:
		return "/v1/probes", nil
	case unlock:
		return "/v1/unlocks", nil
	}
	return resets, nil
}

// show prints the answer. An outcome that is not applied is an error, so that
// scripts see it in the exit code.
func show(resp *http.Response, w io.Writer) error {
	var a answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&a); err != nil {
		return fmt.Errorf("the API answered %s and no JSON", resp.Status)
	}
	if a.ID != "" {
		fmt.Fprintf(w, "request  %s\n", a.ID)
	}
	if a.State != "" {
		fmt.Fprintf(w, "state    %s\n", a.State)
	}
	for _, point := range []string{"accepted", "sealed", "stored", "picked_up", "applied", "answered"} {
		if ms, ok := a.Timings[point]; ok {
			fmt.Fprintf(w, "  %-10s %8.1f ms\n", point, ms)
		}
	}
	if len(a.Details) > 0 {
		details, err := json.Marshal(a.Details)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "details  %s\n", details)
	}
	if a.Code != "" {
		fmt.Fprintf(w, "code     %s\n", a.Code)
	}
	for _, text := range []string{a.Message, a.Detail} {
		if text != "" {
			fmt.Fprintf(w, "%s\n", text)
			break
		}
	}
	switch {
	case a.Code == string(reset.Applied), a.Code == string(reset.AppliedPartly):
		return nil
	case a.Code == string(reset.Unconfirmed), resp.StatusCode == http.StatusInternalServerError && a.Code != string(reset.Unreadable):
		return fmt.Errorf("it is not known whether it was applied")
	case a.Field != "":
		return fmt.Errorf("not applied: %s (%s)", a.Code, a.Field)
	case a.Code == "":
		return fmt.Errorf("not known yet; ask again with GET /v1/requests/%s", a.ID)
	}
	return fmt.Errorf("not applied: %s", a.Code)
}

// requestBody writes the JSON by hand where the password goes, since encoding/json
// would need it as a string. There is none in it if password is empty.
func requestBody(fields map[string]any, password secret.Value) ([]byte, error) {
	head, err := json.Marshal(fields)
	if err != nil || password.Empty() {
		return head, err
	}
	body := append(head[:len(head)-1], `,"password":"`...)
	err = password.Reveal(func(b []byte) error {
		for _, c := range b {
			if c == '"' || c == '\\' || c < ' ' {
				body = fmt.Appendf(body, `\u%04x`, c)
			} else {
				body = append(body, c)
			}
		}
		return nil
	})
	return append(body, `"}`...), err
}

// readPassword reads the first line.
func readPassword(r io.Reader) (secret.Value, error) {
	line, err := bufio.NewReaderSize(r, 4096).ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return secret.Value{}, errors.New("the first line must be the password, and shorter than 4 kB")
	}
	v := secret.New(bytes.Clone(bytes.TrimRight(line, "\r\n")))
	clear(line)
	if v.Empty() {
		return secret.Value{}, errors.New("the first line must be the new password, and is empty")
	}
	return v, nil
}

// trust returns how the API is verified: by the authority in caFile, or by those
// of the system if it is empty.
func trust(caFile string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: holds no PEM certificate", caFile)
	}
	return cfg, nil
}

func httpClient(cfg *tls.Config, wait time.Duration) *http.Client {
	// A redirect would take token and password to another host.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, CheckRedirect: stay, Timeout: wait + 30*time.Second}
}
