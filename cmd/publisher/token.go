package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"writeback/internal/cli"
	"writeback/internal/portal"
	"writeback/internal/reset"
)

func token(_ context.Context, args []string, std cli.Streams) error {
	flags := flag.NewFlagSet("publisher token", flag.ContinueOnError)
	flags.SetOutput(std.Err)
	path := flags.String("file", "tokens.json", "tokens `file`, as publisher.yaml names it")
	list := flags.Bool("list", false, "list the tokens, without their text, which nobody has, and the certificates")
	remove := flags.String("remove", "", "remove the token or certificate with this `id`; it is refused within a second")
	certificate := flags.String("certificate", "", "PEM `file` of a client certificate that the caller shows instead of a token; none is made then")
	tenant := flags.String("tenant", "", "`name` of the tenant whose accounts the caller may reset")
	source := flags.String("source", "", "`name` of the caller, for audit and log")
	operations := flags.String("operations", "reset", "what the caller may ask for, `list` with commas of reset, change, unlock, probe, ticket (to make tickets of the reset page) and switches (to read and set the tenant's switches)")
	actors := flags.String("actors", "admin", "for whom the caller may speak: admin, self, or both; self is for callers that have verified the user")
	names := flags.String("names", "immutable_id,object_guid", "how the caller may name accounts, `list` with commas")
	rate := flags.Int("rate", portal.DefaultRate, "`number` of requests that the caller may make in a minute, at most 60000; a question about an earlier one counts too")
	cidrs := flags.String("cidrs", "", "addresses from which alone the caller may come, `list` with commas, as 192.0.2.0/24,2001:db8::7/128; everywhere if left out")
	days := flags.Int("days", 90, "`number` of days until the token ends, at most 366")
	if err := cli.Parse(flags, args); err != nil {
		return err
	}
	switch {
	case *list:
		return listTokens(*path, std)
	case *remove != "":
		return portal.RemoveToken(*path, *remove)
	}
	grant := portal.Grant{Tenant: *tenant, Source: *source, NotAfter: time.Now().AddDate(0, 0, *days)}
	for _, name := range strings.Split(*operations, ",") {
		if err := grant.Allow(strings.TrimSpace(name)); err != nil {
			return cli.Usagef("-operations: %w %q", err, name)
		}
	}
	var err error
	if grant.ActorKinds, err = parseList("actors", *actors, reset.ParseActorKind); err != nil {
		return err
	}
	if grant.Names, err = parseList("names", *names, reset.ParseNameKind); err != nil {
		return err
	}
	if *rate == 0 {
		return cli.Usagef("-rate: must be at least 1")
	}
	grant.Rate = *rate
	if *cidrs != "" {
		if grant.Addresses, err = parseList("cidrs", *cidrs, portal.ParsePrefix); err != nil {
			return err
		}
	}
	if *certificate != "" {
		return grantCertificate(*path, *certificate, grant, std)
	}
	text, entry, err := portal.NewToken(grant, time.Now())
	if err != nil {
		return cli.Usage(err)
	}
	defer text.Wipe()
	if err := portal.AddToken(*path, entry); err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "Token %s for %s ends on %s. This is the only time that it is shown:\n",
		entry.ID, entry.Source, entry.NotAfter.Format(time.DateOnly))
	return text.Reveal(func(b []byte) error {
		_, err := fmt.Fprintf(std.Out, "%s\n", b)
		return err
	})
}

// grantCertificate lets the holder of the certificate in a file call the API.
func grantCertificate(path, file string, grant portal.Grant, std cli.Streams) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return cli.Usagef("-certificate: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return cli.Usagef("-certificate: %s: does not begin with a PEM certificate", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return cli.Usagef("-certificate: %s: %w", file, err)
	}
	entry, err := portal.NewCertificate(grant, cert, time.Now())
	if err != nil {
		return cli.Usage(err)
	}
	if err := portal.AddToken(path, entry); err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "Certificate %s for %s ends on %s. Its SHA-256 fingerprint is %x.\n",
		entry.ID, entry.Source, entry.NotAfter.Format(time.DateOnly), entry.Hash)
	return nil
}

// parseList parses names with commas between them.
func parseList[T any](flag, s string, parse func(string) (T, error)) ([]T, error) {
	var list []T
	for _, name := range strings.Split(s, ",") {
		v, err := parse(strings.TrimSpace(name))
		if err != nil {
			return nil, cli.Usagef("-%s: %w %q", flag, err, name)
		}
		list = append(list, v)
	}
	return list, nil
}

func listTokens(path string, std cli.Streams) error {
	entries, err := portal.ReadTokens(path)
	if errors.Is(err, fs.ErrNotExist) {
		return cli.Usage(err)
	}
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTENANT\tSOURCE\tOPERATIONS\tACTORS\tNAMES\tENDS\tRATE\tFROM\tKIND")
	for _, e := range entries {
		from := join(e.Addresses)
		if from == "" {
			from = "everywhere"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d/min\t%s\t%s\n", e.ID, e.Tenant, e.Source,
			strings.Join(e.MayDo(), ","), join(e.ActorKinds), join(e.Names), e.NotAfter.Format(time.DateOnly), e.Rate, from, e.Kind())
	}
	return w.Flush()
}

func join[T fmt.Stringer](list []T) string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = v.String()
	}
	return strings.Join(names, ",")
}
