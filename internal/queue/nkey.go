package queue

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"writeback/internal/config"
)

// maxPrivate is far above a seed, a password or a key in PEM.
const maxPrivate = 16 << 10

// readPrivate returns what is in a file that only its owner can read, who is us
// or root. The caller clears it.
func readPrivate(path string) ([]byte, error) {
	f, err := config.OpenSecret(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPrivate+1))
	if err == nil && len(text) > maxPrivate {
		err = fmt.Errorf("%s: has more than %d bytes", path, maxPrivate)
	}
	if err != nil {
		clear(text)
		return nil, err
	}
	return text, nil
}

// LoadNKey reads the seed of a NATS user.
func LoadNKey(path string) (nkeys.KeyPair, error) {
	key, _, err := Config{NKeyFile: path}.credentials()
	return key, err
}

// parseCredentials reads the seed of a NATS user, and the token (JWT) that may
// stand before it.
func parseCredentials(text []byte) (key nkeys.KeyPair, token string, err error) {
	if key, err = nkeys.ParseDecoratedNKey(text); err != nil {
		return nil, "", errors.New("does not hold the seed of a NATS user (SU…)")
	}
	public, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, "", errors.New("holds a key that is not a NATS user's (SU…)")
	}
	if !bytes.Contains(text, []byte("-BEGIN NATS USER JWT-")) {
		return key, "", nil
	}
	if token, err = nkeys.ParseDecoratedJWT(text); err != nil {
		return nil, "", errors.New("holds a token (JWT) that cannot be read")
	}
	claims, err := parseToken(token)
	if err != nil {
		return nil, "", err
	}
	if claims.Subject != public {
		return nil, "", errors.New("holds a token (JWT) that is of another key")
	}
	return key, token, nil
}

// tokenClaims is what we read of a token (JWT) that an operator signed.
type tokenClaims struct {
	Subject string `json:"sub"`
	Expires int64  `json:"exp"` // Unix; 0 is never
}

func parseToken(token string) (claims tokenClaims, err error) {
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		var body []byte
		if body, err = base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			err = json.Unmarshal(body, &claims)
		}
	}
	if len(parts) != 3 || err != nil {
		return tokenClaims{}, errors.New("holds a token (JWT) that cannot be read")
	}
	return claims, nil
}

// tokenEnd returns when a token ends; zero is never, or that there is none.
func tokenEnd(token string) (time.Time, error) {
	if token == "" {
		return time.Time{}, nil
	}
	claims, err := parseToken(token)
	if err != nil || claims.Expires == 0 {
		return time.Time{}, err
	}
	return time.Unix(claims.Expires, 0), nil
}

// MakeNKey makes the seed of a NATS user at path, if there is none, and returns
// the public half (U…), which the broker's configuration names.
func MakeNKey(path string) (public string, made bool, err error) {
	_, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := nkeys.CreateUser()
		if err != nil {
			return "", false, err
		}
		seed, err := key.Seed()
		if err != nil {
			return "", false, err
		}
		defer clear(seed)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return "", false, err
		}
		if err = config.Shut(path); err == nil {
			_, err = f.Write(append(seed, '\n'))
		}
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			os.Remove(path) // a part of a seed would be taken for one next time
			return "", false, err
		}
		made = true
	}
	key, err := LoadNKey(path)
	if err != nil {
		return "", made, err
	}
	public, err = key.PublicKey()
	return public, made, err
}
