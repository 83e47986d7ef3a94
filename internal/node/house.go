package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/policy"
	"entente.example/internal/statement"
	"entente.example/internal/store"
)

// HouseDir holds the member's own rules, its house rules: files *.cedar. The node reads them for every request, so that a change takes
// effect at once.
const HouseDir = "policy"

// houseFile is what a new home begins with.
const houseFile = "house.cedar"

const houseText = `// The house rules of this member: what it demands beside the base rules of Entente and beside the policies of its agreements. All
// three must permit, so nothing that is written here can permit what those forbid.
//
// They are written in Cedar and see what the base rules see; entente policy example lists rules to begin with, and entente policy
// check finds mistakes. All files *.cedar of this folder count. Changes take effect at once. Without any rule, nothing is permitted.

// As it comes, the house permits all that the others permit.
@id("permit-all")
@reason("the house rules permit what the base rules and the agreement permit")
permit (principal, action, resource);
`

// writeHouse gives a new home its house rules.
func writeHouse(dir string) error {
	if err := durable.MkdirAll(filepath.Join(dir, HouseDir)); err != nil {
		return err
	}
	return durable.Create(filepath.Join(dir, HouseDir, houseFile), []byte(houseText))
}

// errHouse says that the house rules cannot be used.
var errHouse = errors.New("the house rules do not load, so nothing is permitted")

// ReadHouse reads and checks the house rules in a folder, which is HouseDir in a home. If there are none it gives those that permit nothing.
func ReadHouse(folder string) (policy.House, error) {
	bad := func(err error) (policy.House, error) {
		return policy.House{}, &fault.Error{Kind: fault.Failed, Text: errHouse.Error() + ": " + err.Error(),
			Hint: "correct it; entente policy check says whether it is sound", Err: errHouse}
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return bad(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".cedar") {
			continue
		}
		name := filepath.Base(folder) + "/" + e.Name()
		if len(files) == limit.HouseFiles {
			return bad(fmt.Errorf("%s holds more than %d files of rules", folder, limit.HouseFiles))
		}
		text, err := readBounded(filepath.Join(folder, e.Name()), limit.Policy)
		if err != nil {
			return bad(err)
		}
		files[name] = string(text)
	}
	house, err := policy.NewHouse(files)
	if err != nil {
		return bad(err)
	}
	return house, nil
}

// house reads the house rules for a decision. Their text is kept with the decision, so that it can be made again when they have changed.
func (n *node) house() (policy.House, error) {
	h, err := ReadHouse(filepath.Join(n.Dir, HouseDir))
	if err != nil {
		n.log.Error("nothing is permitted", "error", err)
		return h, err
	}
	if kept := n.kept.Load(); h.Text != "" && (kept == nil || *kept != h.Hash) {
		n.houses.Store(h.Hash, h.Text)
	}
	return h, nil
}

// keepHouses writes down the house rules by which something was decided since the last commit, in the transaction that records the decision, and
// tells which they were.
func (n *node) keepHouses(tx *store.Tx) (kept []statement.Hash, err error) {
	n.houses.Range(func(hash, text any) bool {
		h := hash.(statement.Hash)
		kept, err = append(kept, h), tx.PutHouse(h, text.(string))
		return err == nil
	})
	return kept, err
}

// housesKept forgets house rules that are durable now.
func (n *node) housesKept(kept []statement.Hash) {
	for _, h := range kept {
		n.kept.Store(&h)
		n.houses.Delete(h)
	}
}
