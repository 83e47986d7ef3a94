package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

const (
	statementKey     = "statement.key"
	nextStatementKey = statementKey + ".next"
	nodeKey          = "node.key"
	nextNodeKey      = nodeKey + ".next"
	nodeCertificate  = "node.pem"
)

// RenewNode issues the member's node a new certificate with a fresh key, and gives it. It reads the authority's private key for it. What was
// issued before stays valid until it expires.
//
// The order is: the new key beside the old one; the certificate in place of the old one; then the key. A crash in between leaves a certificate with
// its key, old or new: Load looks for both.
func (k *Keys) RenewNode(dir string, now time.Time) (tls.Certificate, error) {
	issuer, err := k.authority(dir)
	if err != nil {
		return tls.Certificate{}, err
	}
	p, err := issuer.issueNode(k.Member, now)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := k.stageNodeKey(dir, p); err != nil {
		return tls.Certificate{}, err
	}
	if err := durable.Replace(filepath.Join(dir, certsDir, nodeCertificate), p.certPEM()); err != nil {
		return tls.Certificate{}, fmt.Errorf("write certificate: %w", err)
	}
	if err := switchKey(filepath.Join(dir, keysDir), nextNodeKey, nodeKey); err != nil {
		return tls.Certificate{}, err
	}
	return k.loadNode(dir)
}

// stageNodeKey puts a key beside the one in use. What a crash left there of an earlier renewal may be the only key of the certificate in use, and is
// put into its place before.
func (k *Keys) stageNodeKey(dir string, p pair) error {
	keys := filepath.Join(dir, keysDir)
	if _, err := loadPair(filepath.Join(dir, certsDir, nodeCertificate), filepath.Join(keys, nextNodeKey), nodeID(k.Member)); err == nil {
		if err := switchKey(keys, nextNodeKey, nodeKey); err != nil {
			return err
		}
	}
	if err := durable.Replace(filepath.Join(keys, nextNodeKey), p.keyPEM()); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}

// loadNode reads the node's certificate with its key, which may be the next one while it is renewed, or after a crash.
func (k *Keys) loadNode(dir string) (tls.Certificate, error) {
	keys, cert := filepath.Join(dir, keysDir), filepath.Join(dir, certsDir, nodeCertificate)
	node, err := loadPair(cert, filepath.Join(keys, nodeKey), nodeID(k.Member))
	for _, name := range []string{nextNodeKey, nodeKey} { // the old one once more, for a switch that came in between
		if err == nil {
			break
		}
		if other, e := loadPair(cert, filepath.Join(keys, name), nodeID(k.Member)); e == nil {
			node, err = other, nil
		}
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := issuedBy(node.Leaf, k.CA); err != nil {
		return tls.Certificate{}, fault.New(fault.Invalid, "put the right file back", "%s: %w", cert, err)
	}
	return node, nil
}

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
	return switchKey(filepath.Join(dir, keysDir), nextStatementKey, statementKey)
}

func switchKey(keys, next, used string) error {
	err := os.Rename(filepath.Join(keys, next), filepath.Join(keys, used))
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
