package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"writeback/internal/cli"
	"writeback/internal/reset"
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
	var to callee
	to.flags(fs)
	actor := fs.String("actor", "admin", "admin, or self for a user that you have verified")
	subject := fs.String("subject", "", "who asks, for the audit")
	key := fs.String("idempotency-key", "", "`key` that makes a repeat return the first outcome")
	wait := fs.Duration("wait", 15*time.Second, "how long to wait for the outcome, at most 60s")
	probe := fs.Bool("probe", false, "say what a reset would meet, and change nothing; reads no password")
	unlock := fs.Bool("unlock", false, "unlock the account and leave its password; reads no password")
	mustChange := fs.Bool("must-change", false, "have the user choose another password at the next sign-in; with -actor admin")
	name := accountFlags(fs)
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	account, err := name()
	if err != nil {
		return err
	}
	route, err := routeOf(*probe, *unlock, *mustChange, *actor)
	if err != nil {
		return err
	}
	if err := to.load(); err != nil {
		return err
	}
	defer to.token.Wipe()
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
	headers := map[string]string{"Prefer": fmt.Sprintf("wait=%d", int(wait.Seconds()))}
	if *key != "" {
		headers["Idempotency-Key"] = *key
	}
	resp, err := to.post(ctx, route, body, headers, *wait)
	if err != nil {
		return err
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
	if err := read(resp, &a); err != nil {
		return err
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
