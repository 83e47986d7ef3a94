package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/mod/sumdb/note"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

// ConfigFile is the configuration's name in a home.
const ConfigFile = "entente.toml"

// DefaultNodeAddress is where people reach their own node unless the configuration says otherwise.
const DefaultNodeAddress = "127.0.0.1:7444"

// Config is what a member decides about its own node. It stands in entente.toml, every field commented there.
type Config struct {
	// Member is the member's name.
	Member string `toml:"member"`
	// Address is HOST:PORT at which the other members reach this node; it stands in the card.
	Address string `toml:"address"`
	// PeerListen is HOST:PORT on which the node listens for other members.
	PeerListen string `toml:"peer_listen"`
	// NodeListen is HOST:PORT on which the node listens for the member's own people.
	NodeListen string `toml:"node_listen"`
	// Jurisdiction is the ISO 3166-1 alpha-2 code under whose law the member stands, or empty.
	Jurisdiction string `toml:"jurisdiction"`
	// StoreJurisdiction is where documents are kept, if that is elsewhere; Store tells.
	StoreJurisdiction string `toml:"store_jurisdiction"`
	// WitnessListen is HOST:PORT on which the node listens for whoever is no member, over HTTP; empty: nowhere.
	WitnessListen string `toml:"witness_listen"`
	// WitnessLogs are the verifier keys of third parties' logs that are witnessed too. Their names are the logs' origins.
	WitnessLogs []string `toml:"witness_logs"`
	// PeerBytes bounds what is stored and staged for one peer.
	PeerBytes int64 `toml:"peer_bytes"`
	// FreeBytes is how much of the disk is kept free: what would take of it, waits.
	FreeBytes int64 `toml:"free_bytes"`
	// WitnessPatience is how long documents are exchanged without co-signatures of a quorum; zero: as the alliance is large.
	WitnessPatience Duration `toml:"witness_patience"`
}

// Store is the jurisdiction in which documents are kept, or empty.
func (c Config) Store() string {
	if c.StoreJurisdiction != "" {
		return c.StoreJurisdiction
	}
	return c.Jurisdiction
}

// Duration is a duration that is written like "4h" or "90m"; empty is zero.
type Duration time.Duration

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = 0
		return nil
	}
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// String writes it as UnmarshalText reads it.
func (d Duration) String() string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}

const configText = `# The configuration of one Entente node.

# The member's name: one lower-case word. It is part of every key and certificate; it cannot change.
member = %q

# Where the other members reach this node. It stands in the card that they have; changing it here alone changes nothing
# for them.
address = %q

# Where the node listens for other members.
peer_listen = %q

# Where the node listens for the member's own people. Keep it on loopback, unless people work on other machines.
node_listen = %q

# The country under whose law the member stands (ISO 3166-1 alpha-2), or empty.
jurisdiction = %q

# The country in which this node keeps its documents, if that is another one; rules can ask for it. Empty: the same.
store_jurisdiction = %q

# How many bytes of documents are kept for any one other member. Beyond it, deliveries wait.
peer_bytes = %d

# How many bytes of the disk are kept free. What would take of it, waits: receipts and the log must always find room. Zero keeps nothing free.
free_bytes = %d

# How long documents are sent although too few other members co-sign this member's log, as "90m" or "12h". Empty: 4 hours, and
# 7 days in an alliance of two.
witness_patience = %q

# Where the node listens, over plain HTTP, for whoever is no member: outside logs that it witnesses, and tools that check its own
# log. Empty: nowhere. Put a reverse proxy with TLS in front. It shows co-signed checkpoints and hashes, never a leaf.
witness_listen = %q

# Verifier keys (NAME+HASH+BASE64) of outside logs that this node witnesses there, besides those of the members.
witness_logs = [%s]
`

func newConfig(o InitOptions) (Config, error) {
	c := Config{Member: o.Member, Address: o.Address, PeerListen: o.Address, NodeListen: o.NodeAddress, Jurisdiction: o.Jurisdiction, PeerBytes: limit.PeerStaged, FreeBytes: limit.DiskFree}
	if c.NodeListen == "" {
		c.NodeListen = DefaultNodeAddress
	}
	if err := statement.ValidAddress(c.Address); err != nil {
		return c, fault.New(fault.Misused, "give --address HOST:PORT, the address at which other members reach this node", "%w", err)
	}
	if host, port, err := net.SplitHostPort(c.Address); err == nil {
		if _, err := netip.ParseAddr(host); err != nil {
			c.PeerListen = ":" + port // a DNS name need not be an address of this machine
		}
	}
	return c, c.check()
}

func (c Config) check() error {
	if err := statement.ValidMember(c.Member); err != nil {
		return fault.New(fault.Misused, "choose one lower-case word, such as alpha", "%w", err)
	}
	if err := statement.ValidAddress(c.Address); err != nil {
		return fault.New(fault.Misused, "set address in "+ConfigFile, "address: %w", err)
	}
	for key, code := range map[string]string{"jurisdiction": c.Jurisdiction, "store_jurisdiction": c.StoreJurisdiction} {
		if code == "" {
			continue
		}
		if err := statement.ValidJurisdiction(code); err != nil {
			return fault.New(fault.Misused, "give an ISO 3166-1 code such as NL, or none", "%s: %w", key, err)
		}
	}
	for key, address := range map[string]string{"peer_listen": c.PeerListen, "node_listen": c.NodeListen} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fault.New(fault.Misused, "set "+key+" in "+ConfigFile+" to HOST:PORT", "%s: %w", key, err)
		}
	}
	if err := c.checkWitness(); err != nil {
		return err
	}
	if p := time.Duration(c.WitnessPatience); p != 0 && (p < limit.WitnessPatienceLeast || p > limit.WitnessPatienceMost) {
		return fault.New(fault.Misused, "leave witness_patience empty in "+ConfigFile+" for the usual", "witness_patience must lie between %s and %s", limit.WitnessPatienceLeast, limit.WitnessPatienceMost)
	}
	if c.PeerBytes < 1 {
		return fault.New(fault.Misused, "set peer_bytes in "+ConfigFile, "peer_bytes must be positive")
	}
	if c.FreeBytes < 0 {
		return fault.New(fault.Misused, "set free_bytes in "+ConfigFile, "free_bytes must not be negative")
	}
	return nil
}

func (c Config) checkWitness() error {
	if c.WitnessListen != "" {
		if _, _, err := net.SplitHostPort(c.WitnessListen); err != nil {
			return fault.New(fault.Misused, "set witness_listen in "+ConfigFile+" to HOST:PORT, or to nothing", "witness_listen: %w", err)
		}
	}
	if len(c.WitnessLogs) > limit.ForeignLogs {
		return fault.New(fault.Misused, "shorten witness_logs in "+ConfigFile, "witness_logs has %d keys, at most %d are allowed", len(c.WitnessLogs), limit.ForeignLogs)
	}
	seen := map[string]bool{}
	for _, vkey := range c.WitnessLogs {
		bad := func(format string, args ...any) error {
			return fault.New(fault.Misused, "set witness_logs in "+ConfigFile+" to the Ed25519 verifier keys that the logs publish", "witness_logs: %.80q "+format, append([]any{vkey}, args...)...)
		}
		v, err := note.NewVerifier(vkey)
		if err != nil {
			return bad("is not a verifier key: %w", err)
		}
		// What we hold of a log stands under its name, so no outsider may take that of a member's.
		if owner, log, ok := strings.Cut(v.Name(), "/"); ok && strings.HasPrefix(log, "log/") && statement.ValidMember(owner) == nil {
			return bad("has the name of a member's log; those are witnessed anyway")
		}
		if seen[v.Name()] {
			return bad("is the second key of that name")
		}
		seen[v.Name()] = true
	}
	return nil
}

func (c Config) text() []byte {
	return fmt.Appendf(nil, configText, c.Member, c.Address, c.PeerListen, c.NodeListen, c.Jurisdiction, c.StoreJurisdiction, c.PeerBytes, c.FreeBytes, c.WitnessPatience.String(), c.WitnessListen, quoted(c.WitnessLogs))
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// ReadConfig reads a home's entente.toml strictly.
func ReadConfig(dir string) (Config, error) {
	var c Config
	b, err := readBounded(filepath.Join(dir, ConfigFile), limit.Statement)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fault.New(fault.NotFound, "make one with: entente init NAME --address HOST:PORT, or name another with --home DIR", "there is no member at %s", dir)
	}
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	d := toml.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, tomlFault(filepath.Join(dir, ConfigFile), err)
	}
	if len(c.WitnessLogs) == 0 {
		c.WitnessLogs = nil
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%s: %w", filepath.Join(dir, ConfigFile), err)
	}
	return c, nil
}

// tomlFault says where in a file of ours which mistake is.
func tomlFault(file string, err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		row, _ := unknown.Errors[0].Position()
		return fault.New(fault.Misused, "is it a typing error? The comments in the file say which fields there are", "%s: line %d: there is no field %.80q", file, row, strings.Join(unknown.Errors[0].Key(), "."))
	}
	var where *toml.DecodeError
	if errors.As(err, &where) {
		row, _ := where.Position()
		return fault.New(fault.Misused, "correct that line", "%s: line %d: %s", file, row, strings.TrimPrefix(where.Error(), "toml: "))
	}
	return fault.New(fault.Misused, "correct the file", "%s: %w", file, err)
}

// readBounded reads a file of at most `most` bytes.
func readBounded(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed", name, info.Size(), most)
	}
	return os.ReadFile(name)
}
