package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// UpdateAccounts gives signed accounts (JWTs) to the servers of a broker in
// operator mode, one after the other, and returns how many servers have the last.
// c must be the operator's. An account that a server does not take is an error.
func (c *Conn) UpdateAccounts(ctx context.Context, accounts []string) (servers int, err error) {
	for _, a := range accounts {
		if servers, err = c.askClaims(ctx, "UPDATE", a, servers); err != nil {
			return 0, fmt.Errorf("giving accounts to the broker: %w", err)
		}
	}
	return servers, nil
}

// DeleteAccounts makes the servers forget the accounts that a signed request
// names, and ends their users' connections. c must be the operator's.
func (c *Conn) DeleteAccounts(ctx context.Context, request string) error {
	if _, err := c.askClaims(ctx, "DELETE", request, 0); err != nil {
		return fmt.Errorf("deleting accounts at the broker: %w", err)
	}
	return nil
}

func (c *Conn) askClaims(ctx context.Context, verb, signed string, known int) (servers int, err error) {
	return c.askServers(ctx, "$SYS.REQ.CLAIMS."+verb, []byte(signed), known, func(answer []byte) error {
		var resp struct {
			Error *struct {
				Description string `json:"description"`
			} `json:"error"`
			Data *struct {
				Code int `json:"code"`
			} `json:"data"`
		}
		if err := json.Unmarshal(answer, &resp); err != nil {
			return fmt.Errorf("reading a server's answer: %w", err)
		}
		if resp.Error != nil {
			return errors.New(resp.Error.Description)
		}
		if resp.Data == nil || resp.Data.Code != 200 {
			return errors.New("a server's answer is neither yes nor no")
		}
		return nil
	})
}

// Held says how many streams a tenant's account has, and consumers of a stream.
func Held() (inAccount, consumers int) { return len(streams(1, DefaultKeep)), 1 }

// DeleteStreams deletes the streams of the account that c belongs to, with all
// that they hold.
func (c *Conn) DeleteStreams(ctx context.Context) error {
	for _, s := range streams(1, DefaultKeep) {
		if err := c.js.DeleteStream(ctx, s.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("deleting stream %s: %w", s.Name, err)
		}
	}
	return nil
}
