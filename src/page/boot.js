// Unpacks the page's program and runs it. The policy knows its hash, so it runs as an inline script.
{
  const packed = document.getElementById('program')
  const start = async () => {
    const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0))
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
    const program = document.createElement('script')
    program.textContent = await new Response(stream).text()
    packed.remove()
    document.body.append(program)
  }
  start().catch((error) => {
    const trouble = document.getElementById('trouble')
    trouble.textContent = `This page needs a browser of 2023 or later. (${error.message})`
    trouble.hidden = false
  })
}
