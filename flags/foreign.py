"""What flags, modes and values are called elsewhere, and here."""

from __future__ import annotations

# Names of timm, torchvision, lightly, solo-learn, Keras and big_vision -> what to write here.
_FLAGS = {
    "--train_epochs": "epochs, num_epochs, max_epochs, total_epochs, pretrain_epochs, n_epochs",
    "--train_steps": "steps, num_steps, max_steps, total_steps, iterations, max_iter",
    "--train_batch_size": "batch, batch_size, bs, bsz, per_device_batch_size",
    "--learning_rate": "lr, base_lr, rate, learningrate, peak_lr",
    "--weight_decay": "wd, decay, l2, l2_reg",
    "--optimizer": "opt, optim",
    "--warmup_epochs": "warmup, num_warmup_epochs, warmup_steps",
    "--temperature": "tau, temp, nt_xent_temp",
    "--resnet_depth": "depth, num_layers, layers",
    "--resnet_depth, or --encoder for another network": "arch, network, net",
    "--encoder": "backbone, model, model_name, architecture",
    "--width_multiplier": "width, width_mult",
    "--proj_out_dim": "dim, embedding_dim, proj_dim, out_dim, projection_dim, z_dim",
    "--image_size": "size, img_size, input_size, resolution, imsize, img",
    "--dataset": "ds, data_set, dataset_name",
    "--dataset=folder --data_dir=DIR": "data, data_path, train_dir, data_root, root, folder, path, "
    "images, images_dir, input, input_dir",
    "--model_dir": "out, output_dir, save_dir, workdir, logdir, save_path, exp_dir, experiment, "
    "run_dir, checkpoint_dir, ckpt_dir",
    "--checkpoint": "weights, pretrained, ckpt, load, pretrained_weights, checkpoint_path, init, "
    "load_from, restore",
    "--model_dir with the folder of the run, which then goes on": "resume, resume_from, continue",
    "--color_jitter_strength": "jitter, color_jitter, strength, jitter_strength",
    "--use_blur": "blur, gaussian_blur",
    "--views": "transforms_list, transform, augment, augmentations, aug",
    "--precision=bfloat16": "amp, fp16, bf16, mixed_precision, half, use_amp, dtype, use_bfloat16",
    "--keep_checkpoint_max": "keep, save_total_limit, max_to_keep",
    "--checkpoint_steps": "save_freq, save_steps, save_every, checkpoint_every, ckpt_every",
    "--recipe": "config, cfg, config_file, preset, yaml",
    "none: all GPUs that TensorFlow sees are used, and --strategy chooses": "gpus, gpu, devices, "
    "num_gpus, device, cuda, world_size, distributed, ddp, accelerator, num_devices, gpu_id",
    "none: the input pipeline finds its own number of threads": "workers, num_workers, "
    "threads, num_threads",
    "none: the number of classes follows from the data": "num_classes, classes, n_classes",
    "--seed": "random_seed, rng_seed, manual_seed",
    "--mode=evaluate": "eval, evaluate, test, linear_eval, linear_probe_only",
    "--num_neighbors, or --knn_neighbors with --mode=evaluate": "k, topk, top_k",
    "--gradient_cache_chunk": "accumulate, accum_steps, gradient_accumulation_steps, accum_iter, "
    "accumulate_grad_batches",
    "--log_to": "logger, log, report_to",
    "--log_to=wandb": "wandb, use_wandb",
    "--log_to=mlflow": "mlflow, use_mlflow",
    "none: TensorBoard's events are always written": "tensorboard, tb, use_tensorboard",
}
FLAGS = {other: ours for ours, others in _FLAGS.items() for other in others.split(", ")}

MODES = {
    "pretrain": "--mode=train",
    "fit": "--mode=train",
    "training": "--mode=train",
    "finetune": "--mode=train --train_mode=finetune",
    "fine_tune": "--mode=train --train_mode=finetune",
    "supervised": "--mode=train --train_mode=supervised",
    "distill": "--mode=train --train_mode=distill",
    "test": "--mode=evaluate",
    "evaluation": "--mode=evaluate",
    "linear": "--mode=evaluate --protocols=linear",
    "linear_eval": "--mode=evaluate --protocols=linear",
    "linear_probe": "--mode=evaluate --protocols=linear",
    "knn": "--mode=evaluate --protocols=knn",
    "predict": "--mode=embed",
    "inference": "--mode=embed",
    "features": "--mode=embed",
    "extract": "--mode=embed",
    "search": "--mode=neighbors",
    "retrieve": "--mode=neighbors",
    "cluster": "--mode=explore",
    "outliers": "--mode=explore",
    "visualize": "--mode=explore",
    "export": "the program `python -m export`, or `simclr export`",
    "import": "the program `python -m export import`, or `simclr export import`",
    "report": "the program `python -m simclr_tf.report`, or `simclr report`",
}
