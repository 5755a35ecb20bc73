package lab

import (
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha3"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"writeback/internal/envelope"
	"writeback/internal/seal"
	"writeback/internal/unseal"
)

// shortLives are changes that have sealing keys used for 20 s instead of an hour,
// and kept for 20 s after that instead of 4 min: 65 minutes take 40 to 60 s.
func shortLives() []change {
	const file = "internal/unseal/unseal.go"
	return []change{{file, "\tUse = time.Hour\n", "\tUse = 20 * time.Second\n"}, {file, "\tKeep = 4 * time.Minute\n", "\tKeep = 20 * time.Second\n"}}
}

// TestForwardSecrecy has everything of everybody but what is in the head of who
// typed a password: the broker's store with the requests of a moment, all files of
// publisher and consumers from then on, and the memory of the programs 65 minutes
// later. The requests do not open.
func TestForwardSecrecy(t *testing.T) {
	t.Parallel()
	out := &output{}
	l, err := Start(t.Context(), Options{
		Bin: build(t, shortLives()), NATS: filepath.Join(binaries(t), "..", "nats"), Dir: filepath.Join(t.TempDir(), "lab"),
		Consumers: 2, Directory: "fake", Out: out, Endpoints: filepath.Join(t.TempDir(), "endpoints.json"),
	})
	if err != nil {
		t.Fatalf("starting the lab: %v\n%s", err, out)
	}
	t.Cleanup(l.Close)
	o := newOwner(t, l)

	// The store is taken twice: once before a request is applied, and once with
	// another that is not.
	o.pause(t, time.Now().Add(time.Hour))
	applied, err := o.e.post(t.Context(), "upn", l.Directory.Users[0].UPN, newCanary(), "Prefer: wait=0")
	if err != nil || applied.Status != http.StatusAccepted {
		t.Fatalf("%v %s", err, applied.Body)
	}
	taken, store := []*envelope.Request{parse(t, o.newest(t).Data)}, t.TempDir()
	take := func(name string) {
		if err := os.CopyFS(filepath.Join(store, name), os.DirFS(l.Broker.StoreDir)); err != nil {
			t.Fatal(err)
		}
	}
	take("first")
	o.pause(t, time.Time{})
	await(t, "the outcome", func() error {
		if r := l.get(t, o.e, applied.ID); r.Code != "applied" {
			return errors.New(r.Body)
		}
		return nil
	})
	o.pause(t, time.Now().Add(time.Hour))
	if _, err := o.e.post(t.Context(), "upn", l.Directory.Users[1].UPN, newCanary(), "Prefer: wait=0"); err != nil {
		t.Fatal(err)
	}
	taken = append(taken, parse(t, o.newest(t).Data))
	take("second")
	for i, req := range taken {
		if hits := search(t, map[string][]byte{"body": req.Body}, nil, nil, store); len(hits) == 0 {
			t.Errorf("request %d is not in the store that was taken", i)
		}
	}

	// Now it is all there: the same search finds the keys, which open.
	old := boxFiles(t, l)
	secrets := make(map[string][]byte)
	for path, seed := range old {
		for name, key := range openers(t, taken, seed) {
			secrets[name+" of "+filepath.Base(filepath.Dir(path))] = key
		}
	}
	if hits := search(t, secrets, nil, nil, l.runtime); len(hits) < 2 {
		t.Errorf("the keys are not where they are kept: %q", hits)
	}
	if found := held(t, l, secrets); len(found) < 4 {
		t.Errorf("the consumers' memory has %v, want seeds and what is derived of them", found)
	}
	// Each consumer's keys do: the request as it is, and one of its two wraps.
	if n := opened(t, l, taken); n != 2*2*len(taken) {
		t.Errorf("%d attempts open a request, want %d", n, 2*2*len(taken))
	}

	await(t, "the end of the keys", func() error {
		for path := range boxFiles(t, l) {
			if old[path] != nil {
				return fmt.Errorf("%s is still there", path)
			}
		}
		return nil
	})
	if hits := search(t, secrets, nil, nil, l.Dir, l.runtime, store); len(hits) != 0 {
		t.Errorf("65 minutes later, a key is in a file: %q", hits)
	}
	if n := opened(t, l, taken); n != 0 {
		t.Errorf("65 minutes later, %d attempts with the keys that are left open a request", n)
	}
	await(t, "the end of what is left of them in memory", func() error {
		if found := held(t, l, secrets); len(found) != 0 {
			return fmt.Errorf("memory has %v", found)
		}
		return nil
	})
}

// boxFiles returns the sealing keys that the consumers hold, by their files.
func boxFiles(t *testing.T, l *Lab) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(l.runtime, "*", "box-*"))
	if err != nil {
		t.Fatal(err)
	}
	seeds := make(map[string][]byte)
	for _, path := range files {
		seed, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			t.Fatal(err)
		}
		seeds[path] = seed
	}
	return seeds
}

// openers returns what opens requests that were sealed for the key of a seed: the
// seed, the seeds of its two halves (draft-ietf-hpke-pq: SHAKE256), and the content
// keys of the requests.
func openers(t *testing.T, requests []*envelope.Request, seed []byte) map[string][]byte {
	t.Helper()
	key, err := hpke.MLKEM768X25519().NewPrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	halves := sha3.SumSHAKE256(seed, 96)
	keys := map[string][]byte{"seed": seed, "ML-KEM d": halves[:32], "ML-KEM z": halves[32:64], "X25519": halves[64:]}
	for i, req := range requests {
		for _, w := range req.Wraps {
			cek, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), seal.WrapInfo(req.HeaderBytes(), w.Box), w.Sealed[:])
			if err == nil {
				keys[fmt.Sprintf("content key %d", i)] = cek
			}
		}
	}
	return keys
}

// held returns which secrets are in the memory of the programs, and how often.
func held(t *testing.T, l *Lab, secrets map[string][]byte) map[string]int {
	t.Helper()
	found := make(map[string]int)
	for _, p := range l.endpoints(t).Processes {
		for name, n := range inMemory(t, p.PID, secrets) {
			if n > 0 {
				found[name+" in "+p.Name] = n
			}
		}
	}
	return found
}

// opened tries all keys that the consumers hold on each request, as it is and as if
// each of its wraps were for the newest key, and returns how many attempts open one.
func opened(t *testing.T, l *Lab, requests []*envelope.Request) (n int) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(l.runtime, "*"))
	if err != nil || len(dirs) != l.opts.Consumers {
		t.Fatalf("%d consumers keep keys, %v", len(dirs), err)
	}
	for _, dir := range dirs {
		// A copy, in which nobody rotates.
		parent, err := os.MkdirTemp("/dev/shm", fmt.Sprintf("%s%d-", runtimePrefix, os.Getpid()))
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(parent)
		copied := filepath.Join(parent, "keys")
		if err := errors.Join(os.CopyFS(copied, os.DirFS(dir)), os.Chmod(copied, 0o700)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(copied, "box-*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no keys: %v", dir, err)
		}
		for _, file := range files {
			if err := os.Chmod(file, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		keys, err := unseal.NewKeyring(copied, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, req := range requests {
			var wraps []seal.Wrap
			for _, w := range req.Wraps {
				wraps = append(wraps, seal.Wrap{Box: w.Box, Sealed: w.Sealed})
			}
			attempts := [][]seal.Wrap{wraps}
			public, _ := keys.Public()
			sum := sha256.Sum256(public)
			for _, w := range wraps {
				attempts = append(attempts, []seal.Wrap{{Box: seal.BoxID(sum[:16]), Sealed: w.Sealed}})
			}
			for _, wraps := range attempts {
				plain, err := keys.Open(wraps, req.HeaderBytes(), req.Body)
				if err == nil && strings.Contains(string(plain), canaryMark) {
					n++
				}
			}
		}
	}
	return n
}
