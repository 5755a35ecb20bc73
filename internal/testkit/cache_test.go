package testkit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestCached(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	broken := errors.New("power cut")
	_, err := Cached(t.Context(), "x", func(tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, "half"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("Cached = %v, want the error of make", err)
	}

	// Several at once, as test packages are: one makes it, all get it whole.
	made := make(chan struct{}, 4)
	paths := make(chan string, cap(made))
	for range cap(made) {
		go func() {
			path, err := Cached(t.Context(), "x", func(tmp string) error {
				made <- struct{}{}
				return os.WriteFile(filepath.Join(tmp, "whole"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
			}
			paths <- path
		}()
	}
	for range cap(made) {
		path := <-paths
		list, err := os.ReadDir(path)
		if err != nil || len(list) != 1 || list[0].Name() != "whole" {
			t.Errorf("%s holds %v (%v), want only the file whole", path, list, err)
		}
	}
	if len(made) != 1 {
		t.Errorf("made %d times, want once", len(made))
	}
}

func TestCachedHearsContext(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Cached(t.Context(), "x", func(string) error {
		cancel()
		_, err := Cached(ctx, "x", func(string) error { return nil })
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Cached = %v, want context.Canceled", err)
	}
}
