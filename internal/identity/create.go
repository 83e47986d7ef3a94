package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"entente.example/internal/checkpoint"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// Create makes a member's home in dir with fresh keys, its own authority and its node's certificate, and writes the
// recovery key to recoveryDir/MEMBER.key, which must lie outside the home: it is to be taken offline. It returns the
// keys and the recovery key, which the first card must be signed with as well.
//
// It does everything or nothing. The home is put together beside dir and renamed when it is complete and durable; a
// crash leaves at most a folder dir.new-… and a recovery key that belongs to nothing. A dir that holds anything, and a
// recovery key that exists, are refused.
func Create(dir, recoveryDir, member string, now time.Time) (*Keys, *statement.Key, error) {
	if err := statement.ValidMember(member); err != nil {
		return nil, nil, fault.New(fault.Misused, "choose a short word, such as: alpha", "%w", err)
	}
	if err := checkPlaces(dir, recoveryDir); err != nil {
		return nil, nil, err
	}
	recovery, err := statement.GenerateKey(rand.Reader, member+"/recovery")
	if err != nil {
		return nil, nil, err
	}
	recoveryFile := filepath.Join(recoveryDir, member+".key")
	undo, err := writeRecovery(recoveryFile, recovery)
	if err != nil {
		return nil, nil, err
	}
	if err := createHome(dir, member, now); err != nil {
		return nil, nil, errors.Join(err, undo())
	}
	keys, err := Load(dir, member)
	if err != nil {
		return nil, nil, fmt.Errorf("read the new home: %w", err)
	}
	return keys, recovery, nil
}

// checkPlaces refuses a home that is in use, and a recovery key inside it.
func checkPlaces(dir, recoveryDir string) error {
	home, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find home: %w", err)
	}
	apart, err := filepath.Abs(recoveryDir)
	if err != nil {
		return fmt.Errorf("find folder for the recovery key: %w", err)
	}
	if rel, err := filepath.Rel(home, apart); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fault.New(fault.Misused, "choose a folder outside the home, best on a medium that you can take away", "the recovery key must not lie in the home: %s is inside %s", apart, home)
	}
	entries, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at home: %w", err)
	}
	if len(entries) > 0 {
		return fault.New(fault.Conflict, "choose another folder with --home", "%s is not empty, and a home is never overwritten", home)
	}
	return nil
}

// writeRecovery writes the recovery key and returns what removes it again.
func writeRecovery(path string, key *statement.Key) (undo func() error, err error) {
	dir := filepath.Dir(path)
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make folder for the recovery key: %w", err)
	}
	err = durable.Create(path, []byte(key.Reveal()+"\n"))
	if errors.Is(err, fs.ErrExist) {
		return nil, fault.New(fault.Conflict, "move it away if it belongs to another member, or choose another folder", "there is a recovery key already: %s", path)
	}
	if err != nil {
		return nil, fmt.Errorf("write recovery key: %w", err)
	}
	return func() error { return os.Remove(path) }, nil
}

// createHome puts a home together beside dir and renames it. Before the rename there is no home, after it a whole one.
func createHome(dir, member string, now time.Time) error {
	parent := filepath.Dir(filepath.Clean(dir))
	if err := durable.MkdirAll(parent); err != nil {
		return fmt.Errorf("make folder for home: %w", err)
	}
	building, err := os.MkdirTemp(parent, filepath.Base(dir)+".new-*") // MkdirTemp uses 0700
	if err != nil {
		return fmt.Errorf("make home: %w", err)
	}
	if err := fill(building, member, now); err != nil {
		return errors.Join(err, os.RemoveAll(building))
	}
	// An empty folder may stand in the place, made by the person. Remove refuses one that has been filled meanwhile.
	err = os.Remove(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.Rename(building, dir)
	}
	if err != nil {
		err = fault.New(fault.Failed, "give a folder that does not exist yet; a home cannot be a mount point, but it can lie below one", "cannot make home %s: %w", dir, err)
		return errors.Join(err, os.RemoveAll(building))
	}
	if err := durable.SyncDir(parent); err != nil {
		return fmt.Errorf("sync folder of home: %w", err)
	}
	return nil
}

// fill writes all files of a new home, durably.
func fill(dir, member string, now time.Time) error {
	files, err := generate(member, now)
	if err != nil {
		return err
	}
	for _, sub := range []string{keysDir, certsDir, peopleDir} {
		if err := durable.MkdirAll(filepath.Join(dir, sub)); err != nil {
			return fmt.Errorf("make home: %w", err)
		}
	}
	for name, content := range files {
		if err := durable.Create(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("make home: %w", err)
		}
	}
	return nil
}

// generate makes all keys and certificates of a member, by their place in the home.
func generate(member string, now time.Time) (map[string][]byte, error) {
	files := make(map[string][]byte)
	for file, name := range map[string]string{"statement.key": "/statement", "log.key": "/log/1", "witness.key": "/witness"} {
		key, err := statement.GenerateKey(rand.Reader, member+name)
		if err != nil {
			return nil, err
		}
		files[filepath.Join(keysDir, file)] = []byte(key.Reveal() + "\n")
	}
	for file, name := range map[string]string{"log-mldsa.key": "/log/1", "witness-mldsa.key": "/witness"} {
		key, err := checkpoint.GenerateKey(member + name)
		if err != nil {
			return nil, err
		}
		files[filepath.Join(keysDir, file)] = []byte(key.Reveal() + "\n")
	}
	sealing, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, fmt.Errorf("generate sealing key: %w", err)
	}
	files[filepath.Join(keysDir, "sealing.key")] = fmt.Appendf(nil, "# public key: %s\n%s\n", sealing.Recipient(), sealing)

	ca, issuer, err := newAuthority(member, now)
	if err != nil {
		return nil, err
	}
	node, err := issuer.issueNode(member, now)
	if err != nil {
		return nil, err
	}
	files[filepath.Join(keysDir, "ca.key")] = ca.keyPEM()
	files[filepath.Join(certsDir, "ca.pem")] = ca.certPEM()
	files[filepath.Join(keysDir, "node.key")] = node.keyPEM()
	files[filepath.Join(certsDir, "node.pem")] = node.certPEM()
	for name, content := range files {
		if len(content) > limit.CA {
			return nil, fmt.Errorf("generate %s: it has %d bytes", name, len(content)) // Load would refuse it
		}
	}
	return files, nil
}
