package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"time"

	"writeback/internal/cli"
)

// makeTicket is `publisher ticket`.
func makeTicket(ctx context.Context, args []string, std cli.Streams) error {
	fs := flag.NewFlagSet("publisher ticket", flag.ContinueOnError)
	fs.SetOutput(std.Err)
	var to callee
	to.flags(fs)
	operations := fs.String("operations", "reset", "what the page offers, `list` with commas of reset and unlock")
	actor := fs.String("actor", "self", "self for the owner of the account, whom you have verified; or admin")
	subject := fs.String("subject", "", "who uses the page, for the audit")
	life := fs.Duration("expires-in", 15*time.Minute, "how long the ticket is good for, at most 15m")
	name := accountFlags(fs)
	if err := cli.Parse(fs, args); err != nil {
		return err
	}
	account, err := name()
	if err != nil {
		return err
	}
	if *life < time.Second {
		return cli.Usagef("-expires-in: must be at least 1s")
	}
	if err := to.load(); err != nil {
		return err
	}
	defer to.token.Wipe()
	body, err := json.Marshal(map[string]any{
		"account": account, "operations": strings.Split(*operations, ","), "expires_in": int(life.Seconds()),
		"actor": map[string]string{"kind": *actor, "subject": *subject},
	})
	if err != nil {
		return err
	}
	resp, err := to.post(ctx, "/v1/tickets", body, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var made struct {
		URL     string    `json:"url"`
		Expires time.Time `json:"expires"`
		answer
	}
	if err := read(resp, &made); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("no ticket was made: %s (%s)", made.Code, made.answer.Detail)
	}
	fmt.Fprintf(std.Err, "Whoever opens this first can use it, until %s:\n", made.Expires.Local().Format(time.TimeOnly))
	_, err = fmt.Fprintln(std.Out, made.URL)
	return err
}
