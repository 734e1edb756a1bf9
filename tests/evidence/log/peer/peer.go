// Reads a log's folder with other people's code, and prints what it finds as JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"regexp"

	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Folder  string
	Key     string
	Origin  string
	Old     int64
	Indexes []int64
}

type answer struct {
	Size        uint64
	Root        []byte
	Inclusion   map[int64][][]byte
	Consistency [][]byte
	Entries     [][]byte
}

// folderTiles gives golang.org/x/mod its tiles; C2SP's paths have no height.
type folderTiles struct{ folder string }

var height = regexp.MustCompile(`^tile/8/`)

func (f folderTiles) Height() int { return 8 }

func (f folderTiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folderTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(f.folder, height.ReplaceAllString(tile.Path(), "tile/")))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func main() {
	var asked question
	must(json.NewDecoder(os.Stdin).Decode(&asked))
	ctx := context.Background()
	fetcher := client.FileFetcher{Root: asked.Folder}
	verifier, err := note.NewVerifier(asked.Key)
	must(err)
	checkpoint, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, verifier, asked.Origin)
	must(err)
	size := int64(checkpoint.Size)
	root := tlog.Hash(checkpoint.Hash)

	hashes := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, folderTiles{asked.Folder})
	found, err := tlog.TreeHash(size, hashes)
	must(err)
	expect(found == root, "the tiles lead to another root")
	prover, err := client.NewProofBuilder(ctx, checkpoint.Size, fetcher.ReadTile)
	must(err)
	told := answer{Size: checkpoint.Size, Root: checkpoint.Hash, Inclusion: map[int64][][]byte{}}
	for _, index := range asked.Indexes {
		bundle, err := client.GetEntryBundle(ctx, fetcher.ReadEntryBundle, uint64(index/256), checkpoint.Size)
		must(err)
		entry := bundle.Entries[index%256]
		told.Entries = append(told.Entries, entry)
		proof, err := tlog.ProveRecord(size, index, hashes)
		must(err)
		must(tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(entry)))
		other, err := prover.InclusionProof(ctx, uint64(index))
		must(err)
		expect(same(other, proof), "the peers' inclusion proofs differ")
		told.Inclusion[index] = other
	}
	if asked.Old > 0 {
		proof, err := tlog.ProveTree(size, asked.Old, hashes)
		must(err)
		told.Consistency, err = prover.ConsistencyProof(ctx, uint64(asked.Old), checkpoint.Size)
		must(err)
		expect(same(told.Consistency, proof), "the peers' consistency proofs differ")
	}
	must(json.NewEncoder(os.Stdout).Encode(told))
}

func same[P ~[]tlog.Hash](hashes [][]byte, proof P) bool {
	if len(hashes) != len(proof) {
		return false
	}
	for i, hash := range proof {
		if !bytes.Equal(hash[:], hashes[i]) {
			return false
		}
	}
	return true
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func expect(holds bool, otherwise string) {
	if !holds {
		log.Fatal(otherwise)
	}
}
