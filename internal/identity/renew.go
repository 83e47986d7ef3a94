package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

const (
	statementKey     = "statement.key"
	nextStatementKey = statementKey + ".next"
)

// LoadRecovery reads a member's recovery key from where its owner keeps it.
func LoadRecovery(path, member string) (*statement.Key, error) {
	key, err := loadKey(path)
	if err != nil {
		return nil, err
	}
	if key.Name() != member+"/recovery" {
		return nil, fault.New(fault.Invalid, "give the file that `entente init` wrote, "+member+".key", "%s holds the key %.80q, expected %q", path, key.Name(), member+"/recovery")
	}
	return key, nil
}

// StageStatementKey writes a new statement key durably beside the one in use. SwitchStatementKey takes it into use.
func StageStatementKey(dir string, key *statement.Key) error {
	if err := durable.Replace(filepath.Join(dir, keysDir, nextStatementKey), []byte(key.Reveal()+"\n")); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// SwitchStatementKey puts the key that was staged in the place of the one in use, durably. Without one it does nothing, so it may be
// repeated after a crash.
func SwitchStatementKey(dir string) error {
	keys := filepath.Join(dir, keysDir)
	err := os.Rename(filepath.Join(keys, nextStatementKey), filepath.Join(keys, statementKey))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("switch key: %w", err)
	}
	return durable.SyncDir(keys)
}

// DropStatementKey removes a key that was staged and is not to be used.
func DropStatementKey(dir string) error {
	keys := filepath.Join(dir, keysDir)
	err := os.Remove(filepath.Join(keys, nextStatementKey))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop key: %w", err)
	}
	return durable.SyncDir(keys)
}
