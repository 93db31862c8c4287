import { type Layout, type PlacedEncoder, partOf } from './layout.ts'
import { denoiserName, encoderRenames, fitOf, rewritten } from './modules.ts'
import { encoderModule } from './text-encoders.ts'
import { type Fit, type Form, NAMINGS } from './types.ts'

/** A base's tensor that a module of an adapter changes. */
export interface Place extends Fit {
  readonly tensor: string
}

/**
 * The tensors that a module is of, by its name: one, or the parts of a fused module, each with its rows of the module; none where no
 * naming gives a tensor of the base this name.
 */
export type Finder = (module: string) => readonly Place[]

/** Finds the tensors of a layout's base under every name that the trainers and loaders of its family know. */
export function placesOf(layout: Layout): Finder {
  const index = new Map<string, Place[]>()
  const add = (name: string, place: Place) => {
    const known = index.get(name)
    if (known === undefined) index.set(name, [place])
    else if (known.every(({ tensor }) => tensor !== place.tensor)) known.push(place)
  }
  const { family, form } = layout
  const forms = new Set([form, ...family.marks.map((mark) => mark.form), family.targets.diffusers.form])
  const renames = [...forms].map((to) => [to, family.rename(layout.denoiser, to)] as const)
  const renameEncoder = encoderRenames(layout)
  for (const tensor of layout.tensors.keys()) {
    if (/[._]bias$/.test(tensor)) continue
    const part = partOf(layout, tensor)
    if (part.kind === 'denoiser') {
      for (const [to, rename] of renames) {
        for (const link of rename(part.path) ?? []) {
          const place = { tensor, ...fitOf(link, form, to) }
          for (const name of denoiserNames(layout, to, withoutWeight(link.path))) add(name, place)
        }
      }
    } else if (part.kind === 'encoder') {
      for (const link of renameEncoder(part.encoder)(part.path) ?? []) {
        const place = { tensor, ...fitOf(link) }
        for (const name of encoderNames(part.encoder, withoutWeight(link.path))) add(name, place)
      }
    }
  }
  return (module) => index.get(module) ?? []
}

const withoutWeight = (path: string) => path.replace(/\.weight$/, '')

/**
 * What the denoiser's module at a path of a form may be called: in the three namings, bare, as OneTrainer and SimpleTuner have it, or by
 * PEFT (comfy/lora.py, model_lora_keys_unet @2025-10-12).
 */
function denoiserNames({ family, component }: Layout, form: Form, path: string): string[] {
  const flat = path.replaceAll('.', '_')
  const names = [path, denoiserName(component, 'kohya', path), denoiserName(component, 'comfyui', path)]
  const { rewrite } = family.targets.comfyui
  if (rewrite !== undefined) {
    // ComfyUI takes these under diffusers' prefix too
    const other = rewritten(path, rewrite)
    names.push(other, denoiserName(component, 'comfyui', other), denoiserName(component, 'diffusers', other))
  }
  if (form !== family.targets.diffusers.form) return names
  names.push(
    denoiserName(component, 'diffusers', path),
    `base_model.model.${path}`,
    `lycoris_${flat}`,
    `lora_transformer_${flat}`,
  )
  if (family.component === 'unet') {
    const old = path.replace(/\.to_(?=[qkv]$|out\.0$)/, '.processor.to_').replace(/\.to_out\.0$/, '.to_out')
    names.push(old, denoiserName(component, 'diffusers', old))
  }
  return names
}

function encoderNames({ encoder }: PlacedEncoder, path: string): string[] {
  const names = NAMINGS.flatMap((naming) => encoderModule(encoder, naming, path) ?? [])
  const { aliases = [] } = encoder
  return [...names, ...aliases.map((kohya) => encoderModule({ ...encoder, kohya }, 'kohya', path)!)]
}
