// Release makes what a release consists of: the programs for each platform in an
// archive with their documents, Debian packages of the consumer, a list of what is
// linked into each program (SBOM, CycloneDX), and the checksums of all of it.
//
// The same commit gives the same bytes, wherever and whenever it is built: times are
// the commit's, entries are sorted, owners are root, and paths are trimmed.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("release", flag.ContinueOnError)
	var s sources
	fs.StringVar(&s.root, "root", ".", "`directory` of the sources")
	out := fs.String("out", "dist", "`directory` to make, which is emptied first")
	fs.StringVar(&s.version, "version", "", "what the programs say they are (default: what git describe says)")
	only := fs.String("platforms", "", "platforms to build for, with commas (default: all)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := s.ask(ctx); err != nil {
		return err
	}
	dist, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	for _, p := range platforms() {
		if *only != "" && !strings.Contains(","+*only+",", ","+p.String()+",") {
			continue
		}
		if err := release(ctx, s, p, dist); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return checksums(dist)
}

// sources are what a release is made of.
type sources struct {
	root            string
	version, commit string
	time            time.Time // of the commit
}

// ask completes s with what git says, or, for the time, SOURCE_DATE_EPOCH
// (reproducible-builds.org) in seconds.
func (s *sources) ask(ctx context.Context) (err error) {
	if s.root, err = filepath.Abs(s.root); err != nil {
		return err
	}
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", s.root}, args...)...).Output()
		if err != nil {
			return "", fmt.Errorf("git %s: %w", args[0], err)
		}
		return strings.TrimSpace(string(out)), nil
	}
	if s.commit, err = git("rev-parse", "HEAD"); err != nil {
		return err
	}
	described, err := git("describe", "--tags", "--always", "--abbrev=12", "--dirty=+dirty")
	if err != nil {
		return err
	}
	s.version = cmp.Or(s.version, described)
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if epoch, err = git("log", "-1", "--format=%ct"); err != nil {
			return err
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	s.time = time.Unix(seconds, 0).UTC()
	return nil
}

// release makes the files of one platform in dist.
func release(ctx context.Context, s sources, p platform, dist string) error {
	work, err := os.MkdirTemp("", "writeback-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b, err := build(ctx, s, p, work)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("writeback_%s_%s_%s", strings.TrimPrefix(s.version, "v"), p.os, p.arch)
	files, err := contents(s, p, b)
	if err != nil {
		return err
	}
	if err := archive(filepath.Join(dist, name), files, s.time, p); err != nil {
		return err
	}
	for _, bin := range b {
		if err := os.WriteFile(filepath.Join(dist, name+"_"+bin.name+".cdx.json"), bin.sbom, 0o644); err != nil {
			return err
		}
	}
	if !p.debian {
		return nil
	}
	return debian(s, p, b, work, dist)
}

// checksums writes SHA256SUMS of every file in dist, for sha256sum -c.
func checksums(dist string) error {
	entries, err := os.ReadDir(dist) // sorted
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dist, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(b), e.Name())
	}
	return os.WriteFile(filepath.Join(dist, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
