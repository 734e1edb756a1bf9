// Uploads a file with tus-js-client: node upload.mjs '{"endpoint": ..., "path": ...}'
//
// With "stopAt", it ends itself at that offset, as a browser does that is closed. The last
// line it prints is {"url": ...}.
import { createReadStream } from 'node:fs'
import * as tus from 'tus-js-client'

const { endpoint, path, metadata, chunkSize, url, stopAt } = JSON.parse(process.argv[2])

const upload = new tus.Upload(createReadStream(path), {
  endpoint,
  metadata,
  chunkSize,
  uploadUrl: url ?? null,
  retryDelays: Array(50).fill(200),
  onUploadUrlAvailable: () => console.log(JSON.stringify({ url: upload.url })),
  onChunkComplete: (_size, accepted) => {
    if (stopAt && accepted >= stopAt) process.exit(3)
  },
  onError: (error) => {
    console.error(String(error))
    process.exit(1)
  },
})
upload.start()
