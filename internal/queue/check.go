package queue

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/nats-io/nkeys"
)

// Check reads the files that c names, as [Connect] does, and connects to
// nothing. signing is the raw public half of the program's signing key, nil if
// it has none: the broker chooses what an nkey signs, so the two must differ.
func (c Config) Check(signing []byte) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if _, err := loadPool(c.CAFile); err != nil {
		return fmt.Errorf("broker.ca_file: %w", err)
	}
	key, err := LoadNKey(c.NKeyFile)
	if err != nil {
		return fmt.Errorf("broker.nkey_file: %w", err)
	}
	defer key.Wipe()
	public, err := key.PublicKey()
	if err != nil {
		return fmt.Errorf("broker.nkey_file: %w", err)
	}
	raw, err := nkeys.Decode(nkeys.PrefixByteUser, []byte(public))
	if err != nil {
		return fmt.Errorf("broker.nkey_file: %w", err)
	}
	if bytes.Equal(raw, signing) {
		return errors.New("broker.nkey_file: is the signing key; the broker could make it sign anything")
	}
	return nil
}
