import { expect } from 'vitest'

/** Fields of a model card that the Hub knows (huggingface/hub-docs: docs/hub/model-cards.md, modelcard.md). */
const HUB_FIELDS = ['base_model', 'base_model_relation', 'library_name', 'pipeline_tag', 'license', 'tags']
const RELATIONS = ['adapter', 'merge', 'quantized', 'finetune']
const LIBRARIES = ['peft', 'diffusers', 'mlx', 'transformers']
const TASKS = [
  'text-generation',
  'text-classification',
  'token-classification',
  'question-answering',
  'feature-extraction',
  'text-to-image',
  'text-to-video',
]
/** huggingface_hub: utils/_validators.py, validate_repo_id. */
const REPOSITORY = /^(\b[\w\-.]+\b\/)?\b[\w\-.]{1,96}\b$/

/** The front matter of a card as YAML has it, held to the Hub's rules; a list under `tags`. */
export function frontMatterOf(card: string): Record<string, string | string[]> {
  const [, yaml] = /^---\n([\s\S]*?\n)---\n\n# /.exec(card) ?? []
  expect(yaml, card.slice(0, 200)).toBeDefined()
  const fields: Record<string, string | string[]> = {}
  let open = ''
  for (const line of yaml!.trimEnd().split('\n')) {
    if (line.startsWith('#')) continue
    const [, item] = /^- ([\w-]+)$/.exec(line) ?? []
    const [, key, value] = /^(\w+):(?: ("[^"\\]*"|[\w-]+))?$/.exec(line) ?? []
    if (item !== undefined) (fields[open] as string[]).push(item)
    else {
      expect(key, line).toBeDefined()
      expect(fields).not.toHaveProperty(key!)
      open = key!
      fields[key!] = value === undefined ? [] : value.replaceAll('"', '')
    }
  }
  for (const key of Object.keys(fields)) expect(HUB_FIELDS).toContain(key)
  if (fields.base_model !== undefined) {
    expect(fields.base_model).toMatch(REPOSITORY)
    expect(fields.base_model).not.toMatch(/--|\.\.|\.git$/)
  }
  expect(RELATIONS).toContain(fields.base_model_relation)
  if (fields.library_name !== undefined) expect(LIBRARIES).toContain(fields.library_name)
  if (fields.pipeline_tag !== undefined) expect(TASKS).toContain(fields.pipeline_tag)
  // what isn't known isn't said: an unknown licence fails the Hub's check
  expect(fields).not.toHaveProperty('license')
  expect(yaml).toMatch(/^# license: /m)
  return fields
}
