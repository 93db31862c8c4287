import { hubName } from '../write/config.ts'

/**
 * The YAML that the Hugging Face Hub reads at the top of README.md (huggingface/hub-docs: docs/hub/model-cards.md, modelcard.md,
 * docs/hub/repositories-licenses.md). What isn't known is left out, or is a comment: an unknown value fails the Hub's check.
 */

/** What tools the Hub shows a snippet of (huggingface.js: packages/tasks/src/model-libraries.ts). */
export type CardLibrary = 'peft' | 'diffusers' | 'mlx' | 'transformers'

export interface CardMetadata {
  /** What the model is made from, as it is called; only what can be a repository of the Hub is told it. */
  readonly base: string | undefined
  readonly relation: 'adapter' | 'merge'
  readonly library?: CardLibrary | undefined
  readonly pipelineTag?: string | undefined
  readonly tags: readonly string[]
}

/** The Hub's tasks by PEFT's task types (huggingface.js: packages/tasks/src/pipelines.ts). */
const TASKS: Readonly<Record<string, string>> = {
  CAUSAL_LM: 'text-generation',
  SEQ_CLS: 'text-classification',
  TOKEN_CLS: 'token-classification',
  QUESTION_ANS: 'question-answering',
  FEATURE_EXTRACTION: 'feature-extraction',
}

/** Families of diffusion models that make films; all others make pictures. */
const FILM_FAMILIES = /video|^wan\b/i

/** The Hub's task of an adapter's base, where it is known. */
export function pipelineTagOf(of: {
  readonly taskType?: string | undefined
  readonly diffusion?: string | undefined
}): string | undefined {
  if (of.diffusion !== undefined) return FILM_FAMILIES.test(of.diffusion) ? 'text-to-video' : 'text-to-image'
  return TASKS[of.taskType ?? '']
}

export function frontMatter({ base, relation, library, pipelineTag, tags }: CardMetadata): string {
  const id = hubName(base)
  return [
    '---',
    id === undefined ? '# base_model: org/name of the base on the Hub' : `base_model: "${id}"`,
    `base_model_relation: ${relation}`,
    ...(library === undefined ? [] : [`library_name: ${library}`]),
    ...(pipelineTag === undefined ? [] : [`pipeline_tag: ${pipelineTag}`]),
    "# license: the base's terms may hold for this too; https://huggingface.co/docs/hub/repositories-licenses has the names",
    'tags:',
    ...tags.map((tag) => `- ${tag}`),
    '---',
  ].join('\n')
}
